/**
 * The caller's picture of a graph that lies across workers: just enough to know which leaves a backward pass reaches
 * and over which edges it must be carried.
 *
 * An edge is a `move(worker, { requiresGrad: true })`. During a pass, the gradient at its far end travels back over it
 * from worker to worker; the caller only says so. Gradients of one pass add up at an edge before it is relayed: edges
 * are taken in the reverse order of their making, and whatever an edge's gradient depends on was made after it.
 */
import { sottoError } from '../errors.ts'
import { type Compressed, packingOf } from './feedback.ts'
import { type Location, newId, type ObjectId, type OperandWire, type Verbs } from './location.ts'
import type { TensorWire } from './wire.ts'

let made = 0

/** The start of an edge: a node on another worker, or a tensor in the caller's own graph. */
export type EdgeSource =
  | { readonly at: Location; readonly node: GraphNode }
  | { readonly home: (gradient: Promise<TensorWire | null>, retain: boolean) => void }

export class Edge {
  /** Under these ids its two ends keep their part of the graph. */
  readonly near: ObjectId = newId()
  readonly far: ObjectId = newId()
  readonly order = made++
  readonly to: Location
  readonly source: EdgeSource
  /** How its gradient is packed on the way back. */
  readonly compressed: Compressed | null

  constructor(source: EdgeSource, to: Location, compressed: Compressed | null = null) {
    this.source = source
    this.to = to
    this.compressed = compressed
    // What both ends keep is freed by a backward pass, or when the caller forgets the edge.
    const near = 'at' in source ? { at: source.at, id: this.near } : null
    forgotten.register(this, [{ at: to, id: this.far }, ...(near ? [near] : [])], this)
  }

  /** Frees what both ends keep: no pass will come over it. */
  free(): void {
    this.to.tell('free', { ids: [this.far] })
    if ('at' in this.source) this.source.at.tell('free', { ids: [this.near] })
    this.freed()
  }

  /** Both ends were freed by a pass. */
  freed(): void {
    forgotten.unregister(this)
  }
}

const forgotten = new FinalizationRegistry<readonly { at: Location; id: ObjectId }[]>((ends) => {
  for (const { at, id } of ends) at.tell('free', { ids: [id] })
})

/** A tensor in the graph, without the tensor: it may be disposed of before the graph is. */
export class GraphNode {
  parents: readonly GraphNode[]
  /** The edge over which a leaf's gradient travels on. */
  readonly edge: Edge | null
  readonly isLeaf: boolean
  /** Whether a gradient may wait at this leaf on its worker. */
  hasGrad = false
  isFreed = false

  constructor(parents: readonly GraphNode[], edge: Edge | null = null) {
    this.parents = parents
    this.isLeaf = parents.length === 0
    this.edge = edge
  }
}

export const leaf = (edge: Edge | null = null): GraphNode => new GraphNode([], edge)

/** The node of a result, or none when no operand is in a graph. */
export function derived(operands: readonly (GraphNode | undefined)[]): GraphNode | undefined {
  const parents = operands.filter((node) => node !== undefined)
  return parents.length === 0 ? undefined : new GraphNode(parents)
}

/** What a pass from a node reaches: every node once, and the edges in the order in which to carry gradients. */
function reach(root: GraphNode): { nodes: Set<GraphNode>; edges: Edge[] } {
  const nodes = new Set<GraphNode>()
  const edges = new Set<Edge>()
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
    queue.push(...node.parents)
    if (node.edge) {
      edges.add(node.edge)
      if ('at' in node.edge.source) queue.push(node.edge.source.node)
    }
  }
  return { nodes, edges: [...edges].sort((a, b) => b.order - a.order) }
}

/** A part of a backward pass, to be issued to one worker. */
export interface BackwardPart {
  /** Whose gradient it takes from the worker across an edge (`backward`), or sends there (`relay`); null at the root. */
  readonly edge: Edge | null
  readonly verb: 'backward' | 'relay' | 'relayHome'
  issue(): void
}

export interface BackwardRoot {
  readonly node: GraphNode
  readonly at: Location
  readonly id: ObjectId
  readonly seed: OperandWire
}

/**
 * The commands of one backward pass, in an order in which they may be issued: one to the root's worker, and two for
 * every edge that it crosses (one to each end). Whoever issues them later may put others between them, as long as those
 * to one worker keep their order. The graph counts as freed at once.
 */
export function planBackward(root: BackwardRoot, retain: boolean): BackwardPart[] {
  const { nodes, edges } = reach(root.node)
  const pass = edges.length === 0 ? null : newId()
  type Command =
    | { at: Location; edge: Edge | null; verb: 'backward'; body: Verbs['backward']['request'] }
    | { at: Location; edge: Edge; verb: 'relay'; body: Verbs['relay']['request'] }
    | { at: Location; edge: Edge; verb: 'relayHome'; body: Verbs['relayHome']['request'] }
  const part = { pass, end: false, retain }
  const commands: Command[] = [
    { at: root.at, edge: null, verb: 'backward', body: { ...part, root: { id: root.id, seed: root.seed } } },
  ]
  for (const edge of edges) {
    const { source, to } = edge
    if ('home' in source) {
      commands.push({ at: to, edge, verb: 'relayHome', body: { ...part, edge: edge.far } })
      continue
    }
    const key = newId()
    const packing = packingOf(edge.compressed, 'gradients')
    commands.push({
      at: to,
      edge,
      verb: 'relay',
      body: { ...part, edge: edge.far, to: to.reach(source.at), key, ...packing },
    })
    commands.push({
      at: source.at,
      edge,
      verb: 'backward',
      body: { ...part, root: { edge: edge.near, from: source.at.reach(to), key } },
    })
  }
  const last = new Map(commands.map((command) => [command.at, command]))
  if (!retain) for (const edge of edges) edge.freed()
  for (const node of nodes) {
    if (node.isLeaf) node.hasGrad = true
    else if (!retain) {
      node.isFreed = true
      node.parents = []
    }
  }
  return commands.map((command) => ({
    edge: command.edge,
    verb: command.verb,
    issue() {
      const end = last.get(command.at) === command
      switch (command.verb) {
        case 'backward':
          return command.at.tell('backward', { ...command.body, end })
        case 'relay':
          return command.at.tell('relay', { ...command.body, end })
        case 'relayHome':
          if ('home' in command.edge.source) {
            command.edge.source.home(command.at.ask('relayHome', { ...command.body, end }), retain)
          }
      }
    },
  }))
}
