/** The end of links that listens: shakes hands, begins links, and lets those that broke go on. */
import { sottoError } from '../../errors.ts'
import { newId } from '../../tensor/location.ts'
import type { Identity } from '../identity.ts'
import { afterAwake } from './awake.ts'
import type { Channel } from './channel.ts'
import { type Credentials, type Proof, receive } from './handshake.ts'
import { Link } from './link.ts'

export interface ListenerOptions<Admission> {
  readonly id: string
  readonly identity: Identity
  readonly incarnation: string
  /** Milliseconds for which a link that broke is kept. */
  readonly grace: number
  readonly heartbeat: number
  /** Bytes of a message that this end takes, and of large parts on their way to it. */
  readonly message: number
  readonly parts: number
  /** Whether somebody may come in, and as whom; throws what is said to whoever may not. */
  admit(credentials: Credentials, proof: Proof): Admission | Promise<Admission>
  /** Who the dialler is taken for; null for whoever it says it is. */
  nameOf(admission: Admission): string | null
  /** Takes a link that begins. */
  begin(link: Link, admission: Admission): void
  /** Told of whoever did not get in. */
  onRefused?(error: Error): void
}

/** Handshakes at a time: strangers can begin them, and each costs two signatures. */
const HANDSHAKES = 256
/** Bytes of a message that the other end of a link takes, which it does not say. */
const THEIR_MESSAGE = 64 * 2 ** 20

interface Kept {
  readonly link: Link
  readonly secret: Uint8Array
  /** Calls off that it ends unless it comes back. */
  keep: () => void
}

export class LinkListener<Admission> {
  readonly #options: ListenerOptions<Admission>
  readonly #links = new Map<string, Kept>()
  /** Channels whose other end has not shown who it is, the oldest first. */
  readonly #shaking = new Set<Channel>()

  constructor(options: ListenerOptions<Admission>) {
    this.#options = options
  }

  /** Links that are open or may go on. */
  get size(): number {
    return this.#links.size
  }
  /** Whether another connection would cost one its place. */
  get isFull(): boolean {
    return this.#shaking.size >= HANDSHAKES
  }

  /**
   * Takes a channel that somebody has opened. Settles when the other end has shown who it is, or did not get in.
   *
   * @param certificate SHA-256 of the certificate that was shown on it, in hex
   * @param clientCertificate the name in the certificate that the dialler showed, if an authority vouches for it
   */
  accept(
    channel: Channel,
    {
      certificate = null,
      clientCertificate = null,
    }: { certificate?: string | null; clientCertificate?: string | null } = {},
  ): Promise<void> {
    const [oldest] = this.#shaking
    if (this.isFull) {
      // Somebody who opens many and says nothing keeps nobody else out.
      this.#shaking.delete(oldest!)
      oldest!.close()
    }
    this.#shaking.add(channel)
    return this.#shake(channel, certificate, clientCertificate)
      .catch((error: Error) => this.#options.onRefused?.(error))
      .finally(() => {
        this.#shaking.delete(channel)
      })
  }

  async #shake(channel: Channel, certificate: string | null, clientCertificate: string | null): Promise<void> {
    const { id, identity, incarnation, message, admit, nameOf, begin } = this.#options
    let admission: { readonly value: Admission } | null = null
    const admitted = await receive(channel, {
      id,
      identity,
      incarnation,
      certificate,
      clientCertificate,
      message,
      find: (link) => this.#links.get(link),
      admit: async (credentials, proof) => {
        admission = { value: await admit(credentials, proof) }
        return { identity: nameOf(admission.value) }
      },
    })
    const { channel: secured, resumed } = admitted
    if (resumed !== null) {
      const kept = this.#links.get(resumed.id)
      if (kept === undefined) return secured.close()
      const { link, secret, keep } = kept
      // Whoever dials may have tried before, given up and gone on otherwise: what is old must not end what is good.
      if (link.canHave(resumed.received)) {
        keep()
        admitted.welcome({ id: resumed.id, secret, received: link.received })
      }
      return link.attach(secured, resumed.received)
    }
    const link = this.#open(admitted.welcome)
    link.attach(secured, 0)
    begin(link, admission!.value)
  }

  #open(welcome: (link: { id: string; secret: Uint8Array; received: number }) => void): Link {
    const { heartbeat, parts } = this.#options
    const id = newId()
    const secret = globalThis.crypto.getRandomValues(new Uint8Array(32))
    const link = new Link({ message: THEIR_MESSAGE, parts, heartbeat })
    const kept: Kept = { link, secret, keep: () => {} }
    this.#links.set(id, kept)
    link.onClose(() => {
      kept.keep()
      this.#links.delete(id)
    })
    link.onLost((reason) => this.#waitFor(kept, reason))
    welcome({ id, secret, received: 0 })
    return link
  }

  /** Gives a link that broke some time to come back. */
  #waitFor(kept: Kept, reason: Error | undefined): void {
    const { grace } = this.#options
    const { link } = kept
    kept.keep()
    kept.keep = afterAwake(grace, () => {
      const why = reason ? ` (${reason.message})` : ''
      link.close(sottoError('ERR_WORKER_LOST', `the connection broke and did not come back within ${grace} ms${why}`))
    })
  }

  close(reason?: Error): void {
    for (const { link } of [...this.#links.values()]) link.close(reason)
  }
}
