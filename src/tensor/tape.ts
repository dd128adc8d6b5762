/**
 * Autograd across separate commands, from tfjs's own tape nodes.
 *
 * tfjs records a tape only inside `tf.grads`, one function at a time. Here each command is recorded by itself
 * ({@link record}) and leaves a {@link Segment}; segments hang together through the {@link Tracked} tensors they read,
 * and {@link backward} walks them from the newest to the oldest. Every gradient is the one tfjs registered for its
 * kernel, so every op and every `tf.layers` layer has one.
 *
 * Who frees what: a segment keeps clones that its gradients will read. They go when backward has run through it, or
 * when nothing can reach it any more (its results released, no younger segment built on it).
 */
import { sottoError } from '../errors.ts'
import { engine, type TapeNode, tf } from './engine.ts'
import { withFastMatMul } from './matmul.ts'
import { sameShape, showShape } from './shape.ts'

/** A tensor that autograd knows: a leaf, or the result of a segment. Owns its tensor and its gradient. */
export class Tracked {
  tensor: tf.Tensor
  requiresGrad: boolean
  /** Gradients added up over backward passes; leaves only. */
  grad: tf.Tensor | null = null
  readonly segment: Segment | undefined
  /** Whoever stores it may leave a note here, to be found again when a backward pass reaches it. */
  holder: unknown = null
  #released = false

  constructor(
    tensor: tf.Tensor,
    { requiresGrad = false, segment }: { requiresGrad?: boolean; segment?: Segment } = {},
  ) {
    this.tensor = tensor
    this.segment = requiresGrad ? segment : undefined
    this.requiresGrad = requiresGrad
    this.segment?.hold()
  }

  get isLeaf(): boolean {
    return this.segment === undefined
  }

  /** Puts another value of the same shape in its place, and takes that over. A weight of a model stays the same variable. */
  replace(value: tf.Tensor): void {
    const old = this.tensor
    if (old instanceof tf.Variable) {
      old.assign(value)
      value.dispose()
      return
    }
    this.tensor = tf.keep(value)
    old.dispose()
  }

  /** Adds a gradient to the one that is there; takes ownership of it. */
  accumulate(gradient: tf.Tensor): void {
    const before = this.grad
    this.grad = tf.keep(before === null ? gradient : tf.add(before, gradient))
    if (before !== null) {
      before.dispose()
      gradient.dispose()
    }
  }

  zeroGrad(): void {
    this.grad?.dispose()
    this.grad = null
  }

  /** Gives up the tensor and the gradient. What was computed from it keeps what its own gradients need. */
  release(): void {
    if (this.#released) return
    this.#released = true
    this.holder = null
    this.tensor.dispose()
    this.zeroGrad()
    this.segment?.drop()
  }
}

/** A place in the graph to start from later, when the tensor itself may be gone. Holds the graph, not the data. */
export class Anchor {
  readonly shape: readonly number[]
  readonly #tensorId: number
  readonly #leaf: Tracked | undefined
  readonly segment: Segment | undefined

  constructor(tracked: Tracked) {
    this.shape = tracked.tensor.shape
    this.#tensorId = tracked.tensor.id
    this.#leaf = tracked.isLeaf && tracked.requiresGrad ? tracked : undefined
    this.segment = tracked.segment
    this.segment?.hold()
  }

  get root(): Root {
    return { tensorId: this.#tensorId, shape: this.shape, segment: this.segment, leaf: this.#leaf }
  }

  release(): void {
    this.segment?.drop()
  }
}

/** Where a backward pass starts. */
export interface Root {
  readonly tensorId: number
  readonly shape: readonly number[]
  readonly segment: Segment | undefined
  readonly leaf: Tracked | undefined
}

export const rootOf = (tracked: Tracked): Root => ({
  tensorId: tracked.tensor.id,
  shape: tracked.tensor.shape,
  segment: tracked.segment,
  leaf: tracked.isLeaf && tracked.requiresGrad ? tracked : undefined,
})

let age = 0

/** What one command left on the tape: the nodes between its tracked inputs and its results. */
export class Segment {
  /** Segments are made in the order of their commands, so a larger age is never an ancestor. */
  readonly age = age++
  #nodes: readonly TapeNode[] | null
  #inputs: readonly { readonly tracked: Tracked; readonly tensorId: number }[]
  readonly #needed: ReadonlySet<number>
  #holders = 0

  constructor(nodes: readonly TapeNode[], inputs: readonly Tracked[]) {
    const needed = new Set(inputs.map(({ tensor }) => tensor.id))
    const kept: TapeNode[] = []
    for (const node of nodes) {
      if (Object.values(node.inputs).some(({ id }) => needed.has(id))) {
        for (const { id } of node.outputs) needed.add(id)
        kept.push(node)
      } else {
        freeSaved(node)
      }
    }
    this.#nodes = kept
    this.#needed = needed
    this.#inputs = inputs.map((tracked) => ({ tracked, tensorId: tracked.tensor.id }))
    for (const { segment } of inputs) segment?.hold()
  }

  get isFreed(): boolean {
    return this.#nodes === null
  }
  get nodes(): readonly TapeNode[] {
    return this.#nodes ?? []
  }
  get inputs() {
    return this.#inputs
  }
  needs(tensorId: number): boolean {
    return this.#needed.has(tensorId)
  }

  hold(): void {
    this.#holders++
  }
  drop(): void {
    if (--this.#holders === 0) this.free()
  }

  /** Frees what the gradients kept, and lets go of the segments before it. */
  free(): void {
    // A list of its own instead of recursion: chains of commands may be long.
    const queue: Segment[] = [this]
    for (let segment = queue.pop(); segment !== undefined; segment = queue.pop()) {
      if (segment.#nodes === null) continue
      segment.#nodes.forEach(freeSaved)
      segment.#nodes = null
      for (const { tracked } of segment.#inputs) {
        const before = tracked.segment
        if (before !== undefined && --before.#holders === 0) queue.push(before)
      }
      segment.#inputs = []
    }
  }
}

function freeSaved(node: TapeNode): void {
  for (const tensor of node.saved ?? []) tensor.dispose()
}

/** The tracked tensors that a command may read: those listed, or those that a look-up knows. */
export type Inputs = readonly Tracked[] | ((tensor: tf.Tensor) => Tracked | undefined)

/**
 * Runs a command on the engine, on a tape of its own if one of its inputs requires a gradient.
 *
 * The command's intermediate tensors are freed; its results belong to the caller, and with listed inputs are kept. Whatever tape the
 * code around it has open does not see it.
 */
export function record(
  inputs: Inputs,
  command: () => tf.Tensor | tf.Tensor[],
): { tensors: tf.Tensor[]; segment: Segment | undefined } {
  const listed = typeof inputs === 'function' ? null : inputs.filter(({ requiresGrad }) => requiresGrad)
  const e = engine()
  const { activeTape, gradientDepth } = e.state
  e.state.gradientDepth = 0
  if (listed?.length === 0) {
    try {
      return { tensors: isolated(inputs, command), segment: undefined }
    } finally {
      e.state.gradientDepth = gradientDepth
    }
  }
  e.startTape()
  const tape = e.state.activeTape
  try {
    const tensors = isolated(inputs, command)
    const tracked = new Set(listed ?? (typeof inputs === 'function' ? lookUp(tape, inputs) : []))
    return { tensors, segment: tracked.size === 0 ? forget(tape) : new Segment(tape, [...tracked]) }
  } catch (error) {
    forget(tape)
    throw error
  } finally {
    e.state.activeTape = activeTape
    e.state.gradientDepth = gradientDepth
  }
}

function* lookUp(tape: readonly TapeNode[], known: (tensor: tf.Tensor) => Tracked | undefined) {
  for (const { inputs } of tape) {
    for (const input of Object.values(inputs)) {
      const tracked = known(input)
      if (tracked?.requiresGrad) yield tracked
    }
  }
}

function forget(tape: readonly TapeNode[]): undefined {
  tape.forEach(freeSaved)
}

function isolated(inputs: Inputs, command: () => tf.Tensor | tf.Tensor[]): tf.Tensor[] {
  const e = engine()
  let free: tf.Tensor[] = []
  e.startScope('sotto')
  try {
    const result = withFastMatMul(command)
    const results = Array.isArray(result) ? result : [result]
    // Results of the caller's own functions stay under whatever scope of tfjs is around them.
    if (typeof inputs === 'function') {
      free = results
      return results
    }
    // What is kept already has an owner: a command that hands an operand straight through gives a clone of it.
    return results.map((tensor) => tf.keep(tensor.kept || tensor instanceof tf.Variable ? tf.clone(tensor) : tensor))
  } finally {
    e.endScope(free)
  }
}

export interface BackwardResult {
  /** Gradients of this pass, by leaf. The caller owns them. */
  readonly gradients: ReadonlyMap<Tracked, tf.Tensor>
  /** What the pass went through; free it when no other pass needs it. */
  readonly visited: readonly Segment[]
}

/**
 * Walks back from a root and gives the gradient of every leaf that it reaches.
 *
 * @param seed gradient of the root, of the root's shape; stays the caller's
 * @throws StateError `ERR_GRAPH_FREED` before anything is computed, when a pass freed part of this graph
 */
export function backward(root: Root, seed: tf.Tensor): BackwardResult {
  const visited = reach(root.segment)
  const leaves = new Map<number, Tracked>()
  if (root.leaf) leaves.set(root.tensorId, root.leaf)
  for (const { inputs } of visited) {
    for (const { tracked, tensorId } of inputs) if (tracked.isLeaf) leaves.set(tensorId, tracked)
  }
  const gradients = new Map<Tracked, tf.Tensor>()
  const e = engine()
  const depth = e.state.gradientDepth
  e.state.gradientDepth = 0
  e.startScope('sotto backward')
  try {
    withFastMatMul(() => {
      const byTensor = new Map<number, tf.Tensor>([[root.tensorId, seed]])
      for (const segment of visited) walk(segment, byTensor)
      const given = new Set<tf.Tensor>([seed])
      for (const [tensorId, leaf] of leaves) {
        const gradient = byTensor.get(tensorId)
        if (gradient === undefined) continue
        gradients.set(leaf, tf.keep(given.has(gradient) ? tf.clone(gradient) : gradient))
        given.add(gradient)
      }
    })
  } finally {
    e.endScope()
    e.state.gradientDepth = depth
  }
  return { gradients, visited }
}

/** The segments that a root stands on, the youngest first. */
function reach(root: Segment | undefined): Segment[] {
  const found = new Set<Segment>()
  const queue = root === undefined ? [] : [root]
  for (let segment = queue.pop(); segment !== undefined; segment = queue.pop()) {
    if (found.has(segment)) continue
    if (segment.isFreed) {
      throw sottoError(
        'ERR_GRAPH_FREED',
        'backward: this graph was freed by an earlier backward; pass { retainGraph: true } to the earlier one',
      )
    }
    found.add(segment)
    for (const { tracked } of segment.inputs) if (tracked.segment) queue.push(tracked.segment)
  }
  return [...found].sort((a, b) => b.age - a.age)
}

/** Takes gradients from the outputs of one segment's nodes to their inputs. */
function walk(segment: Segment, byTensor: Map<number, tf.Tensor>): void {
  for (const node of segment.nodes.toReversed()) {
    const dys = node.outputs.map(({ id }) => byTensor.get(id)) as tf.Tensor[]
    if (!dys.some((dy) => dy !== undefined)) continue
    const wanted = Object.entries(node.inputs).filter(
      ([, input]) => input.dtype === 'float32' && segment.needs(input.id),
    )
    if (wanted.length === 0) continue
    if (node.gradient === undefined) {
      throw sottoError('ERR_NO_GRAD', `backward: ${node.kernelName} has no gradient`, { op: node.kernelName })
    }
    const thunks = node.gradient(dys)
    for (const [name, input] of wanted) {
      const thunk = thunks[name]
      if (thunk === undefined) continue
      const dx = thunk()
      if (dx.dtype !== 'float32' || !sameShape(dx.shape, input.shape)) {
        throw sottoError(
          'ERR_SHAPE',
          `backward: the gradient of ${node.kernelName} for "${name}" is ${dx.dtype} ${showShape(dx.shape)}, the input float32 ${showShape(input.shape)}`,
          { op: node.kernelName },
        )
      }
      const sum = byTensor.get(input.id)
      byTensor.set(input.id, sum === undefined ? dx : tf.add(sum, dx))
    }
  }
}
