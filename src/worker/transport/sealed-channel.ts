/** A channel whose messages only its two ends can read, whoever passes them on. */
import type { Channel } from './channel.ts'
import type { Sealer } from './seal.ts'

export class SealedChannel implements Channel {
  readonly certificate = null
  readonly #channel: Channel
  readonly #sealer: Sealer

  constructor(channel: Channel, sealer: Sealer) {
    this.#channel = channel
    this.#sealer = sealer
  }

  get route(): Channel['route'] {
    return this.#channel.route
  }
  get buffered(): number {
    return this.#channel.buffered
  }
  onDrain(listener: () => void): void {
    this.#channel.onDrain(listener)
  }
  send(message: Uint8Array): void {
    this.#channel.send(this.#sealer.seal(message))
  }
  onMessage(listener: ((message: Uint8Array) => void) | null): void {
    if (listener === null) return this.#channel.onMessage(null)
    this.#channel.onMessage((message) => {
      let opened: Uint8Array
      try {
        opened = this.#sealer.open(message)
      } catch {
        // Somebody meddles with it: what this end was told so far stands, and nothing more is believed.
        return this.#channel.close()
      }
      listener(opened)
    })
  }
  onClose(listener: (reason: Error | undefined) => void): void {
    this.#channel.onClose(listener)
  }
  close(): void {
    this.#channel.close()
  }
}
