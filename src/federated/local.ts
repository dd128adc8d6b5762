/** What a client of a federation does in a round, where its data is: the commands of whoever runs the federation. */
import { batches } from '../data/batches.ts'
import { sottoError } from '../errors.ts'
import { checkOptions, numberOption } from '../options.ts'
import type { tf } from '../tensor/backend.ts'
import { noGrad, scope } from '../tensor/context.ts'
import type { lossRow } from '../tensor/losses.ts'
import { type RemoteModel, sendModel } from '../tensor/model.ts'
import type { Optimizer } from '../tensor/optim.ts'
import { type OptimizerGiven, optimizerOf } from '../tensor/optimizer-settings.ts'
import { PointerTensor } from '../tensor/pointer.ts'
import { Worker } from '../worker/worker.ts'
import type { Strategy } from './strategies/strategy.ts'

/** Examples of one owner, on one worker. */
export interface Examples {
  /** `[examples, …]`. */
  readonly x: PointerTensor
  /** `[examples, …]`: labels. */
  readonly y: PointerTensor
}

/** An owner's worker and its examples. */
export interface FederatedClient extends Examples {
  readonly worker: Worker
  /** Examples of the owner's for evaluation; those that it trains on, unless given. */
  readonly test?: Examples
}

export interface LocalTraining {
  /** Passes over the client's examples in a round. Default: 1. */
  readonly epochs?: number
  /** Steps in a round, instead of epochs; over as many passes as it takes. */
  readonly steps?: number
  /** Examples of a step. Default: 32. */
  readonly batchSize?: number
  /** New in every round. Default: SGD, 0.01. */
  readonly optimizer?: Exclude<OptimizerGiven, Optimizer>
}

export type LocalTerms = Required<Omit<LocalTraining, 'steps' | 'epochs'>> & {
  readonly epochs: number
  readonly steps: number | null
}

export function checkLocal(entry: string, local: LocalTraining = {}): LocalTerms {
  checkOptions(`${entry} local`, local, ['epochs', 'steps', 'batchSize', 'optimizer'])
  const { epochs = 1, steps, batchSize = 32, optimizer = { kind: 'sgd', learningRate: 0.01 } } = local
  if (steps !== undefined && local.epochs !== undefined) {
    throw sottoError('ERR_ARGUMENT_VALUE', `${entry}: "steps" goes instead of "epochs"`, { option: 'steps' })
  }
  const whole = { from: 1, integer: true }
  return {
    epochs: numberOption(entry, 'epochs', epochs, whole),
    steps: steps === undefined ? null : numberOption(entry, 'steps', steps, whole),
    batchSize: numberOption(entry, 'batchSize', batchSize, whole),
    optimizer,
  }
}

/** @throws for what is no client, or has not as many labels as examples */
export function checkClient(entry: string, client: FederatedClient): void {
  const { worker, x, y, test } = client
  if (!(worker instanceof Worker)) {
    throw sottoError('ERR_ARGUMENT_TYPE', `${entry}: a client expected { worker, x, y }, with a worker`)
  }
  for (const examples of [{ x, y }, ...(test === undefined ? [] : [test])]) {
    for (const pointer of [examples.x, examples.y]) {
      if (!(pointer instanceof PointerTensor) || pointer.location !== worker) {
        throw sottoError('ERR_NOT_COLLOCATED', `${entry}: the examples of ${worker.id} expected as pointers to it`, {
          worker: worker.id,
        })
      }
    }
    const [count = 0, labels = 0] = [examples.x.shape[0], examples.y.shape[0]]
    if (count === 0 || count !== labels) {
      throw sottoError('ERR_SHAPE', `${entry}: ${worker.id} has ${count} examples and ${labels} labels`, {
        worker: worker.id,
      })
    }
  }
}

export const countOf = ({ x }: Examples): number => x.shape[0]!

export interface LocalRound {
  readonly model: tf.LayersModel
  readonly row: ReturnType<typeof lossRow>
  readonly local: LocalTerms
  readonly strategy: Strategy
  /** Of the orders in which examples are gone through. */
  readonly seed: number
}

/** Rows of each step of a round. */
function* rowsOf(count: number, { epochs, steps, batchSize }: LocalTerms, seed: number): Generator<Int32Array> {
  let taken = 0
  const most = steps ?? Number.POSITIVE_INFINITY
  for (let epoch = 0; steps === null ? epoch < epochs : taken < most; epoch++) {
    for (const rows of batches(count, { batchSize, seed: seed + epoch })) {
      if (taken++ >= most) return
      yield rows
    }
  }
}

/**
 * Commands a client's part in a round; all of it is issued at once, and waits for nothing.
 *
 * @returns what the client is to send: the changes of all weights, or the gradients of those that are trained
 */
export function trainLocally(client: FederatedClient, round: LocalRound): PointerTensor[] {
  return scope(() => {
    const remote = sendModel(round.model, client.worker)
    remote.train()
    return round.strategy.sends === 'gradient' ? gradients(remote, client, round) : changes(remote, client, round)
  })
}

function changes(remote: RemoteModel, { x, y }: FederatedClient, round: LocalRound): PointerTensor[] {
  const { row, local, strategy, seed } = round
  const before = remote.weights().map((weight) => weight.detach())
  const trained = remote.parameters()
  const anchors = trained.map((parameter) => parameter.detach())
  const optimizer = optimizerOf('Federation', local.optimizer, remote)
  for (const rows of rowsOf(countOf({ x, y }), local, seed)) {
    scope(() => {
      const loss = row.loss(remote.apply(x.gather(rows)), y.gather(rows))
      // Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020, equation 2.
      const pull = strategy.proximal === 0 ? [] : trained.map((weight, i) => weight.sub(anchors[i]!).square().sum())
      const whole = pull.reduce((sum, part) => sum.add(part.mul(strategy.proximal / 2)), loss)
      whole.backward()
      optimizer.step()
      optimizer.zeroGrad()
    })
  }
  return remote.weights().map((weight, i) => weight.detach().sub(before[i]!))
}

/** The mean gradient over the examples of a round, batch by batch: as that of all of them at once. */
function gradients(remote: RemoteModel, { x, y }: FederatedClient, { row, local, seed }: LocalRound): PointerTensor[] {
  const all = [...rowsOf(countOf({ x, y }), local, seed)].map((rows) => rows.slice())
  const total = all.reduce((sum, { length }) => sum + length, 0)
  for (const rows of all) {
    scope(() => {
      const loss = row.loss(remote.apply(x.gather(rows)), y.gather(rows))
      loss.mul(rows.length / total).backward()
    })
  }
  return remote.parameters().map((parameter) => parameter.grad!.mul(1))
}

/** Examples that are looked at at a time. */
const EVALUATED = 1024

/** Of a client's examples, the mean loss, and the share of labels that were hit where that is a question. */
export function evaluateLocally(
  { worker, test, ...own }: FederatedClient,
  { model, row }: Pick<LocalRound, 'model' | 'row'>,
): PointerTensor[] {
  const commands = () => {
    const remote = sendModel(model, worker)
    remote.eval()
    const { x, y } = test ?? own
    const count = countOf({ x, y })
    const parts = [...batches(count, { batchSize: EVALUATED })].map((rows) => {
      const [output, labels] = [remote.apply(x.gather(rows)), y.gather(rows)]
      const share = rows.length / count
      const loss = row.loss(output, labels).detach().mul(share)
      return row.hits === null ? [loss] : [loss, row.hits(output, labels).cast('float32').mean().mul(share)]
    })
    return parts.reduce((sums, part) => sums.map((sum, i) => sum.add(part[i]!)))
  }
  return scope(() => noGrad(commands))
}
