/** Steps along the mean of the clients' updates. */
import { checkOptions, numberOption } from '../../options.ts'
import { checkStep, moved } from './inputs.ts'
import type { Strategy } from './strategy.ts'

export interface FedAvgOptions {
  /** How much of the mean update the server takes; above 0. Default: 1, all of it. */
  readonly learningRate?: number
}

export interface FedProxOptions extends FedAvgOptions {
  /** μ of the proximal term; from 0, which is FedAvg. */
  readonly mu: number
}

/** w ← w + η·mean, and no state. */
export function averaging(name: string, { learningRate = 1 }: FedAvgOptions): Strategy {
  numberOption(name, 'learningRate', learningRate, { above: 0 })
  return {
    name,
    sends: 'update',
    proximal: 0,
    step(weights, mean, state) {
      checkStep(name, weights, mean, state, {})
      return { weights: moved(name, weights, (i) => learningRate * mean[i]!), state: {} }
    },
  }
}

/**
 * Federated averaging: McMahan et al., "Communication-efficient learning of deep networks from decentralized data",
 * AISTATS 2017, arXiv 1602.05629, Algorithm 1. The mean of the clients' weights is the server's weights plus the mean of
 * what has changed in them. A learning rate other than 1 is FedOpt's with SGD (Reddi et al., ICLR 2021, section 2).
 *
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for an option of another kind or out of range
 */
export function fedAvg(options: FedAvgOptions = {}): Strategy {
  checkOptions('fedAvg', options, ['learningRate'])
  return averaging('fedAvg', options)
}

/**
 * FedAvg of clients that are held near the round's weights, each by μ/2·‖w − w_round‖² on top of its loss: Li et al.,
 * "Federated optimization in heterogeneous networks", MLSys 2020, arXiv 1812.06127, Algorithm 2. It is for clients whose
 * data differ; the paper tries μ of 0.001, 0.01, 0.1 and 1.
 *
 * @throws `ERR_ARGUMENT_TYPE`, `ERR_ARGUMENT_VALUE` for an option of another kind or out of range
 */
export function fedProx(options: FedProxOptions): Strategy {
  checkOptions('fedProx', options, ['mu', 'learningRate'])
  const proximal = numberOption('fedProx', 'mu', options.mu, { from: 0 })
  return { ...averaging('fedProx', options), proximal }
}
