/** Kernels of a division with a helper (see `protocols/replicated/truncation.ts`), composed of others. */

import type { HelpedKernels, RingKernels } from './kernels.ts'
import { truncationOffset } from './truncation-offset.ts'

type Basic = Pick<RingKernels, 'bits' | 'add' | 'sub' | 'mul' | 'addScalar' | 'mulScalar' | 'truncationOf'>

export function helpedBy({ bits, add, sub, mul, addScalar, mulScalar, truncationOf }: Basic): HelpedKernels {
  return {
    sum3: (a, b, c, k) => addScalar(add(add(a, b), c), k),
    timesLess: (a, b, k) => sub(mulScalar(a, k), b),
    maskedCarry(c, top, mask) {
      const { top: isSet } = truncationOf(c, 1n)
      const sign = addScalar(mulScalar(isSet, -2n), 1n)
      return sub(mul(sign, top), mask)
    },
    openedTerm(c, mine, theirs, divisor) {
      const z = truncationOffset(divisor, bits)
      const { quotient, top } = truncationOf(c, divisor)
      const carries = add(add(mine, theirs), top)
      return addScalar(add(quotient, mulScalar(carries, 2n * z)), -z)
    },
  }
}
