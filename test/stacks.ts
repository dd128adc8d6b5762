import { onTestFinished } from 'vitest'

/** Leaves the stacks of errors out until the test ends: where there are tens of thousands, they take longer than all else. */
export function withoutStacks(): void {
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  onTestFinished(() => {
    Error.stackTraceLimit = stackTraceLimit
  })
}
