/**
 * Gradients of encoded tensors, kept by the caller: the rule stands beside the operation, and one loop walks back.
 *
 * What a rule computes are operations of the same kind: of shared tensors, shared tensors.
 */
import { sottoError } from '../errors.ts'
import { noGrad, scope } from '../tensor/context.ts'
import type { EncodedTensor } from './encoded-tensor.ts'

let made = 0

/** A tensor in the graph. A leaf has no rule, and keeps its gradient. */
export class GradNode<T extends EncodedTensor<T>> {
  readonly order = made++
  readonly parents: readonly (GradNode<T> | null)[]
  /** From the gradient of the result, those of the operands; null for one that needs none. */
  rule: ((gradient: T) => readonly (T | null)[]) | null
  /** What the rule needs, freed with the graph. */
  saved: readonly T[]
  gradient: T | null = null
  isFreed = false

  constructor(
    parents: readonly (GradNode<T> | null)[] = [],
    rule: GradNode<T>['rule'] = null,
    saved: readonly T[] = [],
  ) {
    this.parents = parents
    this.rule = rule
    this.saved = saved
  }

  get isLeaf(): boolean {
    return this.parents.length === 0
  }

  free(): void {
    for (const tensor of this.saved) tensor.dispose()
    this.saved = []
    this.rule = null
    this.isFreed = true
  }
}

/** Everything that a pass from a node reaches, latest first: whatever depends on a node was made after it. */
function reached<T extends EncodedTensor<T>>(root: GradNode<T>): GradNode<T>[] {
  const nodes = new Set<GradNode<T>>()
  const queue = [root]
  for (let node = queue.pop(); node !== undefined; node = queue.pop()) {
    if (nodes.has(node)) continue
    if (node.isFreed) {
      throw sottoError(
        'ERR_GRAPH_FREED',
        'backward: this graph was freed by an earlier backward; pass { retainGraph: true } to the earlier one',
      )
    }
    nodes.add(node)
    for (const parent of node.parents) if (parent !== null) queue.push(parent)
  }
  return [...nodes].sort((a, b) => b.order - a.order)
}

/** Adds the gradients of every leaf that the root was computed from to what is there. */
export function runBackward<T extends EncodedTensor<T>>(root: GradNode<T>, seed: T, retain: boolean): void {
  const nodes = reached(root)
  const gradients = new Map<GradNode<T>, T>([[root, seed]])
  scope(() =>
    noGrad(() => {
      for (const node of nodes) {
        const gradient = gradients.get(node)
        gradients.delete(node)
        if (gradient === undefined) continue
        if (node.isLeaf) {
          const before = node.gradient
          // Kept beyond every scope, until it is dropped.
          node.gradient = (before === null ? gradient : before.add(gradient)).alias()
          before?.dispose()
          continue
        }
        const parts = node.rule!(gradient)
        node.parents.forEach((parent, i) => {
          const part = parts[i]
          if (parent === null || part === null || part === undefined) return
          const before = gradients.get(parent)
          gradients.set(parent, before === undefined ? part : before.add(part))
        })
      }
    }),
  )
  if (!retain) for (const node of nodes) if (!node.isLeaf) node.free()
}
