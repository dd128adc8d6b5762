/** Strategies of a federation: the public names. */
export { type FedAdagradOptions, type FedAdamOptions, fedAdagrad, fedAdam, fedYogi } from './adaptive.ts'
export { type FedAvgOptions, type FedProxOptions, fedAvg, fedProx } from './fed-avg.ts'
export { type FedSgdOptions, fedSgd } from './fed-sgd.ts'
export { coordinateMedian, type TrimmedMeanOptions, trimmedMean } from './robust.ts'
export { checkStrategy, type ServerStep, type Strategy, type StrategyState } from './strategy.ts'
