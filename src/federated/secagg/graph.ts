/**
 * Who is whose neighbour: places on a ring, dealt by a seed; see parameters.ts.
 *
 * Clients are numbers here, as they stand in the roster. The seed is nobody's choice: everyone commits to 32 bytes
 * before anyone shows theirs, and the seed is a hash of all of them (Blum, "Coin flipping by telephone", 1981). Whoever
 * holds theirs back spoils the draw, and that is all they can do.
 */
import { Prg } from '../../smpc/prg.ts'
import type { SecAggParameters } from './parameters.ts'

export class Graph {
  readonly parameters: SecAggParameters
  /** Clients by place. */
  readonly ring: Uint16Array
  readonly #placeOf: Uint16Array

  /** @param seed 32 bytes; of no account in a complete graph */
  constructor(parameters: SecAggParameters, seed: Uint8Array) {
    const { clients, isComplete } = parameters
    this.parameters = parameters
    this.ring = isComplete ? Uint16Array.from({ length: clients }, (_, i) => i) : shuffled(clients, seed)
    this.#placeOf = new Uint16Array(clients)
    for (const [place, client] of this.ring.entries()) this.#placeOf[client] = place
  }

  /** The neighbours of a client, in order. */
  neighbours(client: number): number[] {
    const { clients, neighbours, isComplete } = this.parameters
    if (isComplete) return Array.from(this.ring).filter((other) => other !== client)
    const place = this.#placeOf[client]!
    const at = (offset: number) => this.ring[(place + offset + clients) % clients]!
    const near = Array.from({ length: neighbours / 2 }, (_, i) => [at(-i - 1), at(i + 1)])
    return near.flat().sort((a, b) => a - b)
  }

  /** Who holds shares of a client's secrets: its neighbours, and itself in a complete graph. */
  holders(client: number): number[] {
    return this.parameters.isComplete ? Array.from(this.ring) : this.neighbours(client)
  }

  /** Who confirms the survivors. */
  isWitness(client: number): boolean {
    return this.#placeOf[client]! < this.parameters.witnesses
  }

  /** Whether enough of any k/2 places in a row are among these clients. */
  isSpread(survivors: ReadonlySet<number>): boolean {
    const { clients, neighbours, spread, isComplete } = this.parameters
    if (isComplete) return true
    const isThere = (place: number) => (survivors.has(this.ring[place % clients]!) ? 1 : 0)
    const width = neighbours / 2
    let inRow = 0
    for (let place = 0; place < width; place++) inRow += isThere(place)
    for (let place = 0; place < clients; place++) {
      if (inRow < spread) return false
      inRow += isThere(place + width) - isThere(place)
    }
    return true
  }
}

/** All orders are as likely (Durstenfeld 1964): what would favour some remainders is drawn again. */
function shuffled(n: number, seed: Uint8Array): Uint16Array {
  const stream = new Prg(seed).stream(0)
  const order = Uint16Array.from({ length: n }, (_, i) => i)
  let words: Uint32Array = new Uint32Array(0)
  let next = 0
  const below = (bound: number): number => {
    for (;;) {
      if (next === words.length) {
        const { buffer, byteOffset } = stream.bytes(4096)
        words = new Uint32Array(buffer, byteOffset, 1024)
        next = 0
      }
      const word = words[next++]!
      if (word < 2 ** 32 - (2 ** 32 % bound)) return word % bound
    }
  }
  for (let last = n - 1; last > 0; last--) {
    const at = below(last + 1)
    ;[order[last], order[at]] = [order[at]!, order[last]!]
  }
  return order
}
