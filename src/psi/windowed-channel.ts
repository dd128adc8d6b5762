/** A channel over anything that carries messages and says nothing of when they were taken: who sends waits for who takes. */
import { sottoError } from '../errors.ts'
import { type Channel, Inbox } from './channel.ts'

/** Messages that may be on their way to a peer, and lie there, before it has taken one: 30 MB of them at most. */
const WINDOW = 8

/** One end. What it tells the other is a message, or null: that one was taken. */
export class WindowedChannel implements Channel {
  readonly #inbox = new Inbox(Number.POSITIVE_INFINITY)
  readonly #waiting: (() => void)[] = []
  #underWay = 0
  #failed: Error | null = null
  #tell: ((message: Uint8Array | null) => void) | null = null

  /** From now on messages go to the peer. */
  open(tell: (message: Uint8Array | null) => void): void {
    this.#tell = tell
  }
  get isOpen(): boolean {
    return this.#tell !== null
  }

  async send(message: Uint8Array): Promise<void> {
    while (this.#underWay >= WINDOW && this.#failed === null) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    if (this.#failed !== null) throw this.#failed
    this.#underWay++
    this.#tell!(message)
  }

  async receive(): Promise<Uint8Array> {
    const message = await this.#inbox.take()
    // Whoever is gone needs to be told nothing.
    if (this.#failed === null) this.#tell!(null)
    return message
  }

  /** Something that the peer says. */
  take(message: Uint8Array | null): void {
    if (message === null) {
      this.#underWay = Math.max(0, this.#underWay - 1)
      this.#waiting.shift()?.()
    } else if (this.#inbox.size >= 2 * WINDOW) {
      this.fail(sottoError('ERR_PROTOCOL', 'the peer sends more than was taken'))
    } else void this.#inbox.put(message).catch(() => {})
  }

  fail(error: Error): void {
    this.#failed ??= error
    this.#inbox.fail(error)
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
