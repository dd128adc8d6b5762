/** Signals that end a process: the first lets it finish, the second does not. */
import { constants } from 'node:os'
import type { Io, Signal } from './io.ts'

/**
 * Milliseconds in which a second signal is the first one again: `npx` passes on to its child what the terminal has sent
 * to both.
 */
const SAME = 1000

const ending = ['SIGINT', 'SIGTERM'] as const

export class EndSignals {
  readonly #io: Pick<Io, 'signals' | 'exit'>
  readonly #now: () => number
  readonly #listeners: readonly (readonly [Signal, () => void])[]
  #first: number | null = null
  #onFirst: ((signal: Signal) => void) | null = null

  /** Until somebody waits for a signal, there is nothing to finish: the first one ends the process. */
  constructor(io: Pick<Io, 'signals' | 'exit'>, now: () => number = () => performance.now()) {
    this.#io = io
    this.#now = now
    this.#listeners = ending.map((signal) => [signal, () => this.#take(signal)])
    for (const [signal, listener] of this.#listeners) io.signals.on(signal, listener)
  }

  /** Waits for the first signal. */
  wait(): Promise<Signal> {
    return new Promise((resolve) => {
      this.#onFirst = resolve
    })
  }

  #take(signal: 'SIGINT' | 'SIGTERM'): void {
    const now = this.#now()
    if (this.#first !== null && now - this.#first < SAME) return
    // As a shell tells of it. Said outright: the first process of a container has no ending by default.
    if (this.#first !== null || this.#onFirst === null) return this.#io.exit(128 + constants.signals[signal])
    this.#first = now
    this.#onFirst(signal)
  }

  stop(): void {
    for (const [signal, listener] of this.#listeners) this.#io.signals.off(signal, listener)
  }
}
