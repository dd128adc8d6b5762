/**
 * Channels from one worker to another that takes part in the same run, over the link between their sessions. A worker may
 * be ahead of one that has not been told of the run yet: what it says is kept for a while. Who sends waits for who takes.
 */
import { sottoError } from '../../errors.ts'
import type { HostSession } from '../../worker/host-session.ts'
import type { Session } from '../../worker/session.ts'
import type { Channel } from '../channel.ts'
import { WindowedChannel } from '../windowed-channel.ts'

/** Channels of one session that peers have opened and this worker was not told of. */
const MOST_EARLY = 64
/** Runs that are over, remembered so that what still comes for them is dropped and not kept. */
const REMEMBERED = 1024

/** The runs of one session of a caller's. */
class Runs {
  readonly #session: HostSession
  readonly #channels = new Map<string, WindowedChannel>()
  readonly #over = new Set<string>()

  constructor(session: HostSession) {
    this.#session = session
    session.onEnd(() => {
      const gone = sottoError('ERR_SESSION_CLOSED', 'the session has ended')
      for (const channel of this.#channels.values()) channel.fail(gone)
      this.#channels.clear()
    })
  }

  /**
   * The channel to a peer in a run.
   *
   * @returns the channel, and what closes it
   * @throws StateError `ERR_ID_TAKEN` for a run that was there before; PlacementError `ERR_UNKNOWN_PEER`
   */
  open(run: string, peer: string): { channel: Channel; close: () => void } {
    const key = keyOf(run, peer)
    const link = this.#session.linkTo(peer)
    const channel = this.#channels.get(key) ?? new WindowedChannel()
    if (channel.isOpen || this.#over.has(key)) throw sottoError('ERR_ID_TAKEN', 'there was a run of that id before')
    this.#channels.set(key, channel)
    channel.open((message) => tell(link, run, message))
    const forget = link.onClose((reason) =>
      channel.fail(sottoError('ERR_PARTY_LOST', `${peer} has left the intersection`, { party: peer }, reason)),
    )
    return {
      channel,
      close: () => {
        forget()
        this.#channels.delete(key)
        this.#over.add(key)
        if (this.#over.size > REMEMBERED) this.#over.delete(this.#over.values().next().value as string)
      },
    }
  }

  /** @throws SessionError `ERR_LIMIT` when too much comes for runs that this worker was not told of */
  take(run: string, peer: string, message: Uint8Array | null): void {
    const key = keyOf(run, peer)
    if (this.#over.has(key)) return
    let channel = this.#channels.get(key)
    if (channel === undefined) {
      const early = [...this.#channels.values()].filter(({ isOpen }) => !isOpen).length
      if (early >= MOST_EARLY) throw sottoError('ERR_LIMIT', `${early} runs wait that this worker was not told of`)
      channel = new WindowedChannel()
      this.#channels.set(key, channel)
    }
    channel.take(message)
  }
}

const keyOf = (run: string, peer: string): string => `${run} ${peer}`

function tell(link: Session, run: string, message: Uint8Array | null): void {
  // Typed by the table of these messages; the session knows those of the worker alone.
  link.tell('psiMessage' as never, { run, message } as never)
}

const all = new WeakMap<HostSession, Runs>()

/** The runs that a session takes part in. */
export function runsOf(session: HostSession): Runs {
  let runs = all.get(session)
  if (runs === undefined) {
    runs = new Runs(session)
    all.set(session, runs)
  }
  return runs
}
