/** What is done at each stage of a split network with the rows that pass it: forward, and back. */
import { isSottoError, sottoError } from '../errors.ts'
import { noGrad, scope, unscoped } from '../tensor/context.ts'
import { type ErrorFeedback, errorFeedback } from '../tensor/feedback.ts'
import type { BackwardPart, Edge } from '../tensor/graph.ts'
import type { Location } from '../tensor/location.ts'
import type { LossFunction } from '../tensor/losses.ts'
import type { Optimizer } from '../tensor/optim.ts'
import type { Compression } from '../tensor/packed.ts'
import { type MoveOptions, misplaced, type PointerTensor } from '../tensor/pointer.ts'
import type { Worker } from '../worker/worker.ts'
import { cutNoise } from './cut-noise.ts'
import { type Join, joined } from './join.ts'
import { distanceCorrelation } from './no-peek.ts'
import type { Visit } from './pipeline.ts'
import type { Segment } from './segment.ts'

export interface StagesOptions {
  readonly loss: LossFunction
  readonly join: Join
  /** Form in which activations and gradients cross between workers; float32 if there is none. */
  readonly compress: Compression | null
}

/** Rows on their way through the network and back: a batch, or a part of one. */
export interface Unit {
  /** By first segment. */
  readonly x: readonly PointerTensor[][]
  readonly y: PointerTensor
  /** Made for this unit, and freed when it has been used. */
  readonly isOwn: boolean
  readonly rows: number
  /** Part of its batch: what its loss, a mean over its own rows, counts for. */
  readonly weight: number
  /** Whether the batch is complete with it, and the parameters may change. */
  readonly isLast: boolean
  /** Told when the gradient of its loss has been asked for: the loss is the listener's from then on. */
  readonly onLoss: (loss: PointerTensor) => void
}

/** A loss of one stage's own, and the commands with which it goes back. */
export interface Penalty {
  readonly value: PointerTensor
  readonly parts: readonly BackwardPart[]
}

/** Goes back from penalties, and frees them. */
export function settle(penalties: Penalty[]): void {
  for (const { value, parts } of penalties.splice(0)) {
    for (const { issue } of parts) issue()
    value.dispose()
  }
}

/** Does what can be done as long as the worker is there; that it is not is known already. */
function ifThere(action: () => void): void {
  try {
    action()
  } catch (error) {
    if (!isSottoError(error)) throw error
  }
}

/** How far a unit has come. */
class Course {
  readonly unit: Unit
  /** What the stage before gives the next. */
  given: PointerTensor[] = []
  loss: PointerTensor | null = null
  /** What the backward pass starts from, where it is not the loss itself. */
  root: PointerTensor | null = null
  /** The stage that an edge leads from. */
  readonly edges = new Map<Edge, number>()
  /** Commands of the backward pass, by stage. */
  readonly parts: BackwardPart[][]
  readonly penalties: Penalty[] = []

  constructor(unit: Unit, stages: number) {
    this.unit = unit
    this.parts = Array.from({ length: stages }, () => [])
  }
}

export type { Course }

export class Stages {
  readonly #stages: readonly (readonly Segment[])[]
  readonly #options: StagesOptions
  /** Optimizers by the stage at whose gradients all of theirs are there. */
  readonly #steps: readonly (readonly Optimizer[])[]
  /** What rounding lost, by the way that it was lost on: of each stage, by the worker that gives to it. */
  readonly #feedback: Map<Location, ErrorFeedback>[]

  constructor(stages: readonly (readonly Segment[])[], options: StagesOptions) {
    this.#stages = stages
    this.#options = options
    this.#feedback = stages.map(() => new Map())
    const first = new Map<Optimizer, number>()
    stages.forEach((segments, stage) => {
      for (const { optimizer } of segments) if (optimizer && !first.has(optimizer)) first.set(optimizer, stage)
    })
    this.#steps = stages.map((_, stage) => [...first].filter(([, at]) => at === stage).map(([optimizer]) => optimizer))
  }

  get segments(): Segment[] {
    return this.#stages.flat()
  }
  get optimizers(): Optimizer[] {
    return this.#steps.flat()
  }
  get workers(): Worker[] {
    return [...new Set(this.segments.map(({ worker }) => worker))]
  }
  /** Where the loss is. */
  get last(): Worker {
    return this.#stages.at(-1)![0]!.worker
  }

  /** Of each visit of {@link visits}, the workers that it is made to. */
  get path(): Worker[][] {
    const forth = this.#stages.map((segments) => segments.map(({ worker }) => worker))
    return [...forth, ...forth.toReversed()]
  }

  /** What is done with a unit, in turn: forward at each stage, then back at each. */
  get visits(): Visit<Course>[] {
    const forth = this.#stages.map((_, stage) => (course: Course) => this.#forth(course, stage))
    const back = this.#stages.map((_, stage) => (course: Course) => this.#back(course, stage))
    return [...forth, ...back.toReversed()]
  }

  begin(unit: Unit): Course {
    return new Course(unit, this.#stages.length)
  }

  /** @throws PlacementError for what is not where it is to be used, before anything is issued */
  checkPlaces(entry: string, x: readonly PointerTensor[][], y?: PointerTensor): void {
    this.#stages[0]!.forEach(({ worker }, i) => {
      for (const { location } of x[i]!) if (location !== worker) throw misplaced(entry, worker, location)
    })
    if (y !== undefined && y.location !== this.last) throw misplaced(entry, this.last, y.location)
  }

  /**
   * All the way forward.
   *
   * @param isRecorded whether gradients may come back
   * @returns the output, and what the first stage adds to the loss
   */
  run(x: readonly PointerTensor[][], isRecorded: boolean): { output: PointerTensor; penalties: Penalty[] } {
    const action = () => {
      const penalties: Penalty[] = []
      let given: PointerTensor[] = []
      this.#stages.forEach((_, stage) => {
        given = this.#stage(stage, stage === 0 ? x : [this.#cross(given, stage, null, isRecorded)], penalties, 1)
      })
      return { output: given[0]!, penalties }
    }
    return scope(() => (isRecorded ? action() : noGrad(action)))
  }

  /** Forward at one stage, in what is recorded for the way back. */
  #forth(course: Course, stage: number): void {
    const { unit, given: before } = course
    unscoped(() =>
      scope(() => {
        const inputs = stage === 0 ? unit.x : [this.#cross(course.given, stage, course.edges, true)]
        course.given = this.#stage(stage, inputs, course.penalties, unit.weight)
        const penalties = course.penalties.map(({ value }) => value)
        if (stage < this.#stages.length - 1) return [course.given, penalties]
        const [output] = course.given
        course.given = []
        course.loss = this.#options.loss(output!, unit.y)
        course.root = unit.weight === 1 ? null : course.loss.mul(unit.weight)
        for (const part of (course.root ?? course.loss).planBackward()) {
          course.parts[this.#stageOf(part, course.edges)]!.push(part)
        }
        return [course.loss, course.root, penalties]
      }),
    )
    // What did not leave its worker is still there.
    for (const pointer of before) pointer.dispose()
    if (!unit.isOwn) return
    if (stage === 0) for (const pointer of unit.x.flat()) pointer.dispose()
    if (stage === this.#stages.length - 1) unit.y.dispose()
  }

  /** Back at one stage. */
  #back(course: Course, stage: number): void {
    const { unit, loss } = course
    // Before the rest of the pass, which frees the graph.
    if (stage === 0) settle(course.penalties)
    for (const { issue } of course.parts[stage]!.splice(0)) issue()
    if (loss !== null) {
      course.root?.dispose()
      course.loss = null
      unit.onLoss(loss)
    }
    if (!unit.isLast) return
    for (const optimizer of this.#steps[stage]!) {
      optimizer.step()
      optimizer.zeroGrad()
    }
  }

  /** Frees what units hold that will not be taken to their end, on workers that are still there. */
  abandon(courses: readonly Course[]): void {
    for (const course of courses) {
      const { unit, given, loss, root, penalties, parts } = course
      // Of a pass that has begun, every worker keeps its part of the graph until it has taken its turn.
      ifThere(() => settle(penalties))
      for (const { issue } of parts.toReversed().flat()) ifThere(issue)
      for (const edge of course.edges.keys()) edge.free()
      for (const pointer of [...given, loss, root, ...penalties.map(({ value }) => value)]) pointer?.dispose()
      if (unit.isOwn) for (const pointer of [...unit.x.flat(), unit.y]) pointer.dispose()
    }
    for (const { model } of this.segments) ifThere(() => model.zeroGrad())
  }

  /** The segments of a stage, each on its inputs. */
  #stage(stage: number, inputs: readonly PointerTensor[][], penalties: Penalty[], weight: number): PointerTensor[] {
    return this.#stages[stage]!.map(({ model, noise, noPeek }, i) => {
      const own = inputs[i]!
      const output = model.apply(own)
      const given = noise === null ? output : cutNoise(output, noise)
      if (noPeek > 0 && given.requiresGrad) {
        const value = distanceCorrelation(own[0]!, given).mul(noPeek * weight)
        penalties.push({ value, parts: value.planBackward(undefined, { retainGraph: true }) })
      }
      return given
    })
  }

  /** Brings what a stage gives to the worker of the next, and makes one of it. */
  #cross(
    given: readonly PointerTensor[],
    stage: number,
    edges: Map<Edge, number> | null,
    isRecorded: boolean,
  ): PointerTensor[] {
    const to = this.#stages[stage]![0]!.worker
    const there = given.map((activations) => {
      if (activations.location === to) return activations
      const requiresGrad = isRecorded && activations.requiresGrad
      const moved = activations.move(to, { requiresGrad, ...this.#packing(stage, activations.location, requiresGrad) })
      const edge = moved.node?.edge
      if (edge) edges?.set(edge, stage - 1)
      return moved
    })
    return [joined(this.#options.join, there)]
  }

  /** How activations go from a worker to a stage. Of what is learnt nothing from, nothing is fed back. */
  #packing(stage: number, from: Location, isRecorded: boolean): Pick<MoveOptions, 'compress' | 'feedback'> {
    const { compress } = this.#options
    if (compress === null) return {}
    if (compress !== 'int8' || !isRecorded) return { compress }
    const known = this.#feedback[stage]!
    let feedback = known.get(from)
    if (feedback === undefined) {
      feedback = errorFeedback()
      known.set(from, feedback)
    }
    return { compress, feedback }
  }

  /** Forgets what rounding lost: what goes on from here goes on the same way wherever it was broken. */
  forgetLost(): void {
    for (const known of this.#feedback) {
      for (const feedback of known.values()) feedback.dispose()
      known.clear()
    }
  }

  /** At which stage a part of a backward pass is to be done. Edges of others lead to the first stage, or to before it. */
  #stageOf({ edge, verb }: BackwardPart, edges: ReadonlyMap<Edge, number>): number {
    if (edge === null) return this.#stages.length - 1
    const source = edges.get(edge)
    if (source === undefined) return 0
    return verb === 'relay' ? source + 1 : source
  }
}

/** @throws RangeError `ERR_SHAPE` when what a stage gives is not what the next takes */
export function checkChain(entry: string, stages: readonly (readonly Segment[])[], join: Join): void {
  for (const [stage, segments] of stages.entries()) {
    if (stage === 0) continue
    const given = stages[stage - 1]!.map(({ model }) => model.skeleton.outputs.map(({ shape }) => shape))
    const wanted = segments[0]!.model.inputShapes
    if (given.some((outputs) => outputs.length !== 1) || wanted.length !== 1) {
      throw sottoError('ERR_SHAPE', `${entry}: segments pass one tensor on to each other`)
    }
    const shapes = given.map(([shape]) => shape!)
    const shape = [...shapes[0]!]
    if (join === 'concat') {
      const widths = shapes.map((each) => each.at(-1) ?? null)
      shape[shape.length - 1] = widths.includes(null) ? null : widths.reduce((sum, width) => sum! + width!, 0)
    } else if (shapes.some((other) => !fits(other, shape))) {
      throw sottoError(
        'ERR_SHAPE',
        `${entry}: first segments give ${shapes.map(show).join(' and ')}; what is joined by ${join} must be of one shape`,
      )
    }
    if (!fits(shape, wanted[0]!)) {
      throw sottoError(
        'ERR_SHAPE',
        `${entry}: segment ${stage} takes ${show(wanted[0]!)}, and gets ${show(shape)} of the one before it`,
        { given: shape, wanted: wanted[0] },
      )
    }
  }
}

type PartialShape = readonly (number | null)[]
const fits = (given: PartialShape, wanted: PartialShape): boolean =>
  given.length === wanted.length && given.every((d, i) => d === null || wanted[i] === null || d === wanted[i])
const show = (shape: PartialShape): string => `[${shape.map((d) => d ?? '*').join(',')}]`
