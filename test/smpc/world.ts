/** Workers of a secret computation whose every message is seen, and shares as the parties hold them. */
import { VirtualWorker } from 'sotto'
import { vi } from 'vitest'
import type { GroupOptions } from '../../src/smpc/group.ts'
import type { Part, ShareWire } from '../../src/smpc/messages.ts'
import { Party } from '../../src/smpc/party.ts'
import type { ProtocolName } from '../../src/smpc/protocols/index.ts'
import type { Words } from '../../src/smpc/ring/kernels.ts'
import type { StoredShare } from '../../src/smpc/stored-share.ts'
import { encode } from '../../src/worker/codec.ts'
import { type Deposit, type Frame, FrameKind } from '../../src/worker/protocol.ts'

/** A request that a worker received. */
export interface Received {
  readonly to: string
  readonly name: string
  readonly body: unknown
  readonly frame: Frame
}
/** A frame that a worker sent back: a reply, a failure or an acknowledgement. */
export interface Answer {
  readonly from: string
  readonly frame: Frame
}
/** How long a frame is on a wire. */
export const bytesOn = ({ frame }: { readonly frame: Frame }): number => encode(frame).length

/** Parties, a provider and a stranger, that hand each other what they say in process: the very bytes, not copies. */
export class World {
  readonly received: Received[] = []
  readonly answers: Answer[] = []
  readonly parties: readonly VirtualWorker[]
  readonly provider: VirtualWorker
  readonly stranger: VirtualWorker

  constructor(
    parties: number,
    readonly protocol: ProtocolName = 'additive',
  ) {
    this.parties = Array.from({ length: parties }, (_, i) => this.#worker(`party-${i}`))
    this.provider = this.#worker('provider')
    this.stranger = this.#worker('stranger')
  }

  /** What `share` takes. */
  get options(): GroupOptions {
    return this.protocol === 'additive' ? { provider: this.provider } : { protocol: this.protocol }
  }

  #worker(id: string): VirtualWorker {
    return new VirtualWorker(id, {
      fault: (frame) => {
        // On the links that a worker accepts, requests come to it and all else goes out.
        if (frame[0] !== FrameKind.request) this.answers.push({ from: id, frame })
        else this.received.push({ to: id, name: frame[2], body: frame[3], frame })
        return undefined
      },
    })
  }

  /** What was received since the last time. */
  take(): Received[] {
    return this.received.splice(0)
  }

  async close(): Promise<void> {
    for (const worker of [...this.parties, this.provider, this.stranger]) await worker.close()
    this.received.length = 0
    this.answers.length = 0
  }
}

/** The parts of a message from another member of a group. */
export const partsOf = ({ name, body }: Received): readonly Part[] =>
  name === 'secretParts' ? (body as { parts: readonly Part[] }).parts : []

/** The share in a message, if it brings one. */
export function shareOf({ name, body }: Received): ShareWire | undefined {
  if (name === 'secretPut') return (body as { share: ShareWire }).share
  if (name !== 'deposit') return undefined
  const { content } = body as { content: Deposit }
  return content.kind === 'share' ? content : undefined
}

const { store } = Party.prototype

/** The shares that parties store from now on. */
export class StoredShares {
  readonly #spy = vi
    .spyOn(Party.prototype, 'store')
    .mockClear()
    .mockImplementation(function (this: Party, ...about) {
      const share = store.apply(this, about)
      // Their words are looked at when they are freed.
      share.hold()
      return share
    })

  /** Shares of one secret, in the order of the parties. */
  of(id: string): Promise<Words[]> {
    return wordsOfAll(this.#list(({ out }) => out === id).map(({ share }) => share))
  }
  /** Shares of all secrets, by the index of the party. */
  async ofParty(index: number): Promise<Words[]> {
    return wordsOfAll(this.#list(({ share }) => share.party.options.index === index).map(({ share }) => share))
  }

  #list(picks: (one: { out: string; share: StoredShare }) => boolean) {
    const { calls, results } = this.#spy.mock
    return calls
      .map(([out], i) => ({ out, share: results[i]!.value as StoredShare }))
      .filter(picks)
      .sort((a, b) => a.share.party.options.index - b.share.party.options.index)
  }
}

const wordsOfAll = (shares: readonly StoredShare[]): Promise<Words[]> =>
  Promise.all(shares.map(async ({ value }) => (await value)[0]!.data))
