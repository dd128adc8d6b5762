/**
 * Checkpoints of trainings in secret. Each party keeps its shares itself; one checkpoint is what all parties have kept under
 * one name and in one set. Names tell epoch and batch, `name.epoch.batch`: the newest that is whole is what a training goes
 * on from. Those before are removed when all parties have the next, so that a party may fail at any moment.
 */
import * as v from 'valibot'
import { sottoError } from '../../errors.ts'
import { checkOptions, numberOption } from '../../options.ts'
import { type CheckpointInfo, checkCheckpointName } from '../../tensor/checkpoint.ts'
import { scope, unscoped } from '../../tensor/context.ts'
import { newId } from '../../tensor/location.ts'
import { type Shape, sameShape, showShape } from '../../tensor/shape.ts'
import type { Worker } from '../../worker/worker.ts'
import type { Encoding } from '../encoding.ts'
import { askSecret, type Group, tellSecret } from '../group.ts'
import { SharedTensor } from '../shared-tensor.ts'
import type { Rule, Slots } from './optimizers.ts'
import type { ModelParts } from './step.ts'

export interface SecretCheckpointOptions {
  /** Name of the training: 1 to 40 characters out of A–Z a–z 0–9 _ . - */
  readonly name: string
  /** Batches from one to the next, besides the one at the end of each epoch. None besides, unless given. */
  readonly every?: number
  /**
   * Whether to go on from the newest checkpoint of this name that all parties have; where there is none, the training begins.
   * Default: false; then what was kept under this name before is removed, once there is a checkpoint of this run.
   *
   * The weights, and what the optimizer keeps, are then those that were saved, bit for bit, and so are the order of the rows
   * and what dropout draws. From there on values follow the same rule; two runs, unbroken or not, differ by what divisions
   * round, within a unit each.
   */
  readonly resume?: boolean
  /** Called when all parties have kept one. A promise is waited for. */
  readonly onSave?: (saved: SecretCheckpoint) => void | Promise<void>
}

/** A checkpoint that all parties have. */
export interface SecretCheckpoint {
  readonly name: string
  /** Where the training goes on: the epoch, from 1, and how many of its batches are done. */
  readonly epoch: number
  readonly batch: number
  /** What each party keeps, in their order. */
  readonly parties: readonly CheckpointInfo[]
}

export interface Place {
  readonly epoch: number
  readonly batch: number
}

/** What of a training is kept besides the weights. */
export interface SecretState {
  readonly step: number
  readonly slots: ReadonlyMap<number, Slots>
  /** Puts what was restored in the place of what is there. */
  replace(state: {
    readonly values: ReadonlyMap<number, SharedTensor>
    readonly slots: ReadonlyMap<number, Slots>
    readonly step: number
  }): void
}

/** What has to be the same for a training to go on. */
export interface Course {
  readonly batchSize: number
  readonly shuffle: boolean
  readonly seed: number
  readonly count: number
  readonly loss: string
  readonly optimizer: Readonly<Record<string, unknown>>
  /** Encodings of the weights, in their order. */
  readonly encodings: readonly string[]
}

const count = v.pipe(v.number(), v.integer(), v.minValue(0))
const noteSchema = v.strictObject({
  kind: v.literal('training'),
  epoch: count,
  batch: count,
  step: count,
  course: v.record(v.string(), v.unknown()),
  /** The weight of each tensor, and which of its optimizer's. */
  tensors: v.array(v.strictObject({ weight: count, slot: v.nullable(v.string()) })),
})
type Note = v.InferOutput<typeof noteSchema>

/** What a party says that it has kept. */
interface Manifest {
  readonly set: string
  readonly note: Note
  readonly shapes: readonly Shape[]
}

const LONGEST_NAME = 40

function fromJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return null
  }
}

export class SecretCheckpoints {
  readonly #parts: ModelParts
  readonly #rule: Rule
  readonly #course: Course
  readonly #options: SecretCheckpointOptions
  /** The one that all parties have, once they have no other of this training; until then, nobody knows what they have. */
  #only: string | null = null

  constructor(parts: ModelParts, rule: Rule, course: Course, options: SecretCheckpointOptions) {
    checkOptions('fit: "checkpoint"', options, ['name', 'every', 'resume', 'onSave'])
    const { name, every, resume = false } = options
    checkCheckpointName('fit: "checkpoint"', name)
    if (name.length > LONGEST_NAME) {
      throw sottoError('ERR_ARGUMENT_VALUE', `fit: "checkpoint" expected a name of at most ${LONGEST_NAME} characters`)
    }
    if (every !== undefined) numberOption('fit: "checkpoint"', 'every', every, { integer: true, from: 1 })
    if (typeof resume !== 'boolean') {
      throw sottoError('ERR_ARGUMENT_TYPE', 'fit: "resume" expected true or false', { option: 'resume' })
    }
    this.#parts = parts
    this.#rule = rule
    this.#course = course
    this.#options = options
  }

  get #group(): Group {
    return this.#parts.weights[0]!.tensor.group
  }

  isDue(batch: number): boolean {
    const { every } = this.#options
    return every !== undefined && batch % every === 0
  }

  /** Keeps a training, then removes what was kept before, by runs that were broken off too. */
  async save(state: SecretState, place: Place): Promise<void> {
    const group = this.#group
    const name = `${this.#options.name}.${place.epoch}.${place.batch}`
    const weights = this.#parts.weights.map(({ tensor }, weight) => ({ tensor, weight, slot: null as string | null }))
    const kept = [...state.slots].flatMap(([weight, slots]) =>
      Object.entries(slots).map(([slot, tensor]) => ({ tensor, weight, slot: slot as string | null })),
    )
    const all = [...weights, ...kept]
    const tensors = all.map(({ weight, slot }) => ({ weight, slot }))
    const note: Note = { kind: 'training', ...place, step: state.step, course: { ...this.#course }, tensors }
    const parties = await group.ask('secretSave', {
      group: group.id,
      seq: group.nextSeq(),
      name,
      set: newId(),
      note: JSON.stringify(note),
      ids: all.map(({ tensor }) => tensor.id),
    })
    await this.#options.onSave?.({ name, ...place, parties })
    const before = this.#only
    await Promise.all(
      group.parties.map(async (party) => {
        const others = before === null ? await this.#namesAt(party) : [before]
        for (const other of others) if (other !== name) await party.removeCheckpoint(other)
      }),
    )
    this.#only = name
  }

  /**
   * Restores the newest that all parties have, if that is asked for and there is one.
   *
   * @throws StateError `ERR_CHECKPOINT_MISMATCH` for one of another model, other rows or settings; `ERR_CHECKPOINT` for one
   *   that was cut or changed
   */
  async restore(state: SecretState): Promise<Place | null> {
    if (this.#options.resume !== true) return null
    const { parties, provider } = this.#group
    // What failed before is why it goes on from what was kept.
    for (const member of provider === null ? parties : [...parties, provider]) await member.flush().catch(() => {})
    for (const place of await this.#places()) {
      const name = `${this.#options.name}.${place.epoch}.${place.batch}`
      const manifest = await this.#manifest(name)
      // The parties failed while they kept it, under a name that they had before.
      if (manifest === null) continue
      this.#check(name, manifest.note, manifest.shapes)
      unscoped(() =>
        scope(() => {
          state.replace(this.#restored(name, manifest))
        }),
      )
      await Promise.all(this.#group.parties.map((party) => party.flush()))
      return { epoch: manifest.note.epoch, batch: manifest.note.batch }
    }
    return null
  }

  /** Where checkpoints of this training are that every party has, the newest first. */
  async #places(): Promise<Place[]> {
    const lists = await Promise.all(this.#group.parties.map((party) => this.#namesAt(party)))
    const [first, ...rest] = lists.map((names) => new Set(names))
    return [...first!]
      .filter((name) => rest.every((others) => others.has(name)))
      .map((name) => this.#placeOf(name)!)
      .sort((a, b) => b.epoch - a.epoch || b.batch - a.batch)
  }

  /** The checkpoints of this training that a party has. */
  async #namesAt(party: Worker): Promise<string[]> {
    return (await party.checkpoints()).map(({ name }) => name).filter((name) => this.#placeOf(name) !== null)
  }

  /** Where the training was in a checkpoint of this name, or null when it is none of this training. */
  #placeOf(name: string): Place | null {
    const start = `${this.#options.name}.`
    if (!name.startsWith(start)) return null
    const [, epoch, batch] = /^(\d{1,9})\.(\d{1,9})$/.exec(name.slice(start.length)) ?? []
    return epoch === undefined ? null : { epoch: Number(epoch), batch: Number(batch) }
  }

  /** What all parties say that they have kept under a name, or null where they do not say the same. */
  async #manifest(name: string): Promise<Manifest | null> {
    const group = this.#group
    const said = await Promise.all(
      group.parties.map((party) => askSecret(party, 'secretKept', { group: group.id, name })),
    )
    const [first] = said
    const same = said.every(({ set, note }) => set === first!.set && note === first!.note)
    const isAlike = said.every(({ shapes }) => JSON.stringify(shapes) === JSON.stringify(first!.shapes))
    if (!same || !isAlike) return null
    const parsed = v.safeParse(noteSchema, fromJson(first!.note))
    if (!parsed.success || parsed.output.tensors.length !== first!.shapes.length) {
      throw sottoError('ERR_CHECKPOINT', `fit: what the parties keep as "${name}" is no training`, { name })
    }
    return { set: first!.set, note: parsed.output, shapes: first!.shapes }
  }

  /** Refuses a checkpoint of another training. */
  #check(name: string, note: Note, shapes: readonly Shape[]): void {
    const misfit = (why: string): Error => sottoError('ERR_CHECKPOINT_MISMATCH', `fit: "${name}" ${why}`, { name })
    for (const [key, value] of Object.entries(this.#course)) {
      const before = JSON.stringify(note.course[key])
      if (before !== JSON.stringify(value)) {
        throw misfit(`is of a training whose ${key} was ${before}, not ${JSON.stringify(value)}`)
      }
    }
    const { weights } = this.#parts
    const found = note.tensors.filter(({ slot }) => slot === null)
    if (found.length !== weights.length || found.some(({ weight }, i) => weight !== i)) {
      throw misfit(`has ${found.length} weights, the model ${weights.length}`)
    }
    note.tensors.forEach(({ weight, slot }, i) => {
      const owner = weights[weight]
      if (owner === undefined || (slot !== null && this.#encodingOf(weight, slot) === undefined)) {
        throw misfit('is of another optimizer')
      }
      if (sameShape(owner.tensor.shape, shapes[i]!)) return
      throw misfit(`has ${showShape(shapes[i]!)} where the model has ${showShape(owner.tensor.shape)}`)
    })
  }

  #encodingOf(weight: number, slot: string | null): Encoding | undefined {
    const { encoding } = this.#parts.weights[weight]!.tensor
    if (slot === null) return encoding
    const slots = this.#rule.slots(encoding)
    return Object.hasOwn(slots, slot) ? slots[slot] : undefined
  }

  /** Every party shares what it has kept; the sums are what was saved. */
  #restored(name: string, { set, note, shapes }: Manifest) {
    const group = this.#group
    const { parties } = group
    /** A key for each tensor, each party that has kept a share of it, and each that gets a part of that. */
    const keys = shapes.map(() => parties.map(() => parties.map(() => newId())))
    parties.forEach((from, i) => {
      const to = keys.map((ofTensor) =>
        parties.map((party, j) => ({
          name: party === from ? from.id : from.reach(party),
          key: ofTensor[i]![j]!,
        })),
      )
      tellSecret(from, 'secretRestore', { group: group.id, name, set, to })
    })
    const tensors = shapes.map((shape, t) => {
      const { weight, slot } = note.tensors[t]!
      const encoding = this.#encodingOf(weight, slot)!
      const [first, ...rest] = parties.map((from, i) => {
        const out = newId()
        group.tell('secretTake', (j) => {
          const party = parties[j]!
          const source = party === from ? party.id : party.reach(from)
          return { group: group.id, from: source, key: keys[t]![i]![j]!, out, shape }
        })
        return SharedTensor.stored(group, out, shape, encoding)
      }) as [SharedTensor, ...SharedTensor[]]
      return rest.reduce((sum, part) => sum.run('add', [part])[0]!, first)
    })
    const values = new Map<number, SharedTensor>()
    const slots = new Map<number, Record<string, SharedTensor>>()
    note.tensors.forEach(({ weight, slot }, t) => {
      if (slot === null) values.set(weight, tensors[t]!)
      else slots.set(weight, { ...slots.get(weight), [slot]: tensors[t]! })
    })
    return { values, slots, step: note.step }
  }
}
