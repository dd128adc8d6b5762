/** What clients do to what they send, for differential privacy, where their data is. */
import { scope } from '../tensor/context.ts'
import type { PointerTensor } from '../tensor/pointer.ts'

/**
 * Values, all of them together of norm `clip` at most, with Gaussian noise of a deviation on each (McMahan et al.,
 * "Learning Differentially Private Recurrent Language Models", ICLR 2018, Algorithm 1, with the noise in parts).
 */
export function clippedAndNoisy(values: readonly PointerTensor[], clip: number, deviation: number): PointerTensor[] {
  return scope(() => {
    const squares = values.map((value) => value.square().sum())
    const norm = squares.reduce((sum, square) => sum.add(square)).sqrt()
    const factor = norm.maximum(clip).reciprocal().mul(clip)
    return values.map((value) => {
      const clipped = value.mul(factor)
      return deviation === 0 ? clipped : clipped.addGaussianNoise(deviation)
    })
  })
}
