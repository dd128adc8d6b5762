/** Strategies of a federation: the public names. */
export { checkStrategy, type ServerStep, type Strategy, type StrategyState } from './strategy.ts'
