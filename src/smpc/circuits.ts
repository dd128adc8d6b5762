/**
 * Boolean circuits on planes of bits (see `ring/kernels.ts`): what comparisons are made of.
 *
 * Xor is local on boolean shares, And takes a round; so a circuit is a list of layers, and all the And gates of a layer
 * are opened together. A wire that feeds several gates of a layer is masked and opened once.
 */

import { DIGIT } from './ring/digits.ts'

/** register[into] = (adds ? register[into] : 0) ⊕ (wire left ∧ wire right). */
export interface Gate {
  /** Positions among the wires of the layer. */
  readonly left: number
  readonly right: number
  readonly into: number
  readonly adds: boolean
}

export interface Layer {
  /** Registers that are opened, masked. */
  readonly wires: readonly number[]
  readonly gates: readonly Gate[]
}

export interface Circuit {
  readonly layers: readonly Layer[]
  /** Planes opened, and And gates, in all layers. */
  readonly wires: number
  readonly gates: number
}

class LayerBuilder {
  readonly #wires: number[] = []
  readonly #gates: Gate[] = []

  #wire(register: number): number {
    const known = this.#wires.indexOf(register)
    return known >= 0 ? known : this.#wires.push(register) - 1
  }
  and(left: number, right: number, into: number, adds: boolean): void {
    this.#gates.push({ left: this.#wire(left), right: this.#wire(right), into, adds })
  }
  get layer(): Layer {
    return { wires: this.#wires, gates: this.#gates }
  }
}

function circuit(layers: readonly Layer[]): Circuit {
  return {
    layers,
    wires: layers.reduce((n, { wires }) => n + wires.length, 0),
    gates: layers.reduce((n, { gates }) => n + gates.length, 0),
  }
}

/** A tree over n parts, lowest first: neighbours combine into the higher, until one is left. An odd one out passes on. */
function halving(
  n: number,
  combine: (layer: LayerBuilder, low: number, high: number, isLowest: boolean) => void,
): Circuit {
  const layers: Layer[] = []
  let parts = Array.from({ length: n }, (_, i) => i)
  while (parts.length > 1) {
    const layer = new LayerBuilder()
    const odd = parts.length % 2
    const next = parts.slice(0, odd)
    for (let i = odd; i < parts.length; i += 2) {
      const [low, high] = [parts[i]!, parts[i + 1]!]
      combine(layer, low, high, i === 0)
      next.push(high)
    }
    parts = next
    layers.push(layer.layer)
  }
  return circuit(layers)
}

/**
 * Whether c < r of two numbers, digit by digit from the lowest: of registers 0…n−1 with c_d < r_d, and n…2n−1 with
 * c_d = r_d, register n−1 ends up with the answer. (Of bits, c_d < r_d is ¬c_d ∧ r_d. Of a sign, the highest digit has others;
 * see `lookups.ts`.)
 *
 * Neighbours combine: (lt, eq) of the higher and of the lower half give lt = lt_hi ⊕ (eq_hi ∧ lt_lo) and
 * eq = eq_hi ∧ eq_lo (Garay, Schoenmakers, Villegas, PKC 2007). ⌈log2 n⌉ layers. Nobody asks whether the lowest parts
 * are equal.
 */
function lessThan(n: number): Circuit {
  return halving(n, (layer, low, high, isLowest) => {
    layer.and(n + high, low, high, true)
    if (!isLowest) layer.and(n + high, n + low, n + high, false)
  })
}

/** Whether all of n bits are 1: register n−1 ends up with the answer. ⌈log2 n⌉ layers. */
function allOnes(n: number): Circuit {
  return halving(n, (layer, low, high) => layer.and(low, high, high, false))
}

/**
 * What is borrowed for every digit: of registers as of `lessThan`, register i ends up with whether the lowest i + 1 digits of c
 * are below those of r. Sklansky's parallel prefix (1960): ⌈log2 n⌉ layers.
 */
function borrows(n: number): Layer[] {
  const layers: Layer[] = []
  for (let width = 1; width < n; width *= 2) {
    const layer = new LayerBuilder()
    for (let start = 0; start + width < n; start += 2 * width) {
      const low = start + width - 1
      for (let high = low + 1; high < Math.min(n, start + 2 * width); high++) {
        layer.and(n + high, low, high, true)
        if (start > 0) layer.and(n + high, n + low, n + high, false)
      }
    }
    layers.push(layer.layer)
  }
  return layers
}

/**
 * The lowest n bits of c − r, but for what is local, from digits of four bits. With m the number of digits but the highest,
 * registers 0…m−1 hold c_d < r_d of these, and m…2m−1 c_d = r_d; 2m…2m+n−1 hold the bits of each digit's own difference, and
 * those that follow, of each digit but the lowest, which of its bits but the first change when one is borrowed.
 *
 * Registers 2m…2m+n−1 end up with the bits; but the first bit of each digit d > 0 changes besides with what register d−1
 * ends up with. A layer after those of the borrows, and none at all up to five bits.
 */
function difference(n: number): Circuit {
  const lower = Math.max(0, Math.ceil(n / DIGIT) - 1)
  const layers = borrows(lower)
  const last = new LayerBuilder()
  for (let bit = DIGIT; bit < n; bit++) {
    const [digit, place] = [Math.floor(bit / DIGIT), bit % DIGIT]
    if (place === 0) continue
    const changes = 2 * lower + n + (DIGIT - 1) * (digit - 1) + place - 1
    last.and(changes, digit - 1, 2 * lower + bit, true)
  }
  return circuit(last.layer.gates.length > 0 ? [...layers, last.layer] : layers)
}

const makers = { lessThan, allOnes, difference } as const
export type CircuitName = keyof typeof makers
export const isCircuit = (name: unknown): name is CircuitName => typeof name === 'string' && Object.hasOwn(makers, name)

const made = new Map<string, Circuit>()

/** The circuit of a name for numbers of so many bits. */
export function circuitOf(name: CircuitName, bits: number): Circuit {
  const key = `${name} ${bits}`
  const known = made.get(key) ?? makers[name](bits)
  made.set(key, known)
  return known
}

/** Bytes of one plane of so many values. */
export const strideOf = (size: number): number => Math.ceil(size / 8)
