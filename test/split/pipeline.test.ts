import { describe, expect, it } from 'vitest'
import { lagsOf, Pipeline } from '../../src/split/pipeline.ts'

/** What each worker of a path is told, in order: the number of the visit and that of the unit. */
function told(path: readonly (readonly string[])[], window: number, units: number) {
  const commands: Record<string, string[]> = {}
  const visits = path.map((workers, visit) => (unit: number) => {
    for (const worker of workers) {
      commands[worker] ??= []
      commands[worker].push(`${visit < path.length / 2 ? 'F' : 'B'}${unit}`)
    }
  })
  const pipeline = new Pipeline(visits, lagsOf(path, window))
  for (let unit = 1; unit <= units; unit++) pipeline.push(unit)
  const before = Object.fromEntries(Object.entries(commands).map(([worker, list]) => [worker, list.join(' ')]))
  pipeline.drain()
  return { before, all: Object.fromEntries(Object.entries(commands).map(([worker, list]) => [worker, list.join(' ')])) }
}

const vanilla = [['alice'], ['bob'], ['bob'], ['alice']]
const hops = [['alice'], ['bob'], ['carol'], ['carol'], ['bob'], ['alice']]
const uShaped = [['alice'], ['bob'], ['alice'], ['alice'], ['bob'], ['alice']]
const vertical = [['alice', 'carol'], ['bob'], ['bob'], ['alice', 'carol']]

describe('the order in which units are taken along a path', () => {
  it('takes one after the other when nothing may be under way behind the first', () => {
    for (const path of [vanilla, hops, uShaped, vertical]) expect(new Set(lagsOf(path, 0))).toEqual(new Set([0]))
    expect(told(vanilla, 0, 2).all).toEqual({ alice: 'F1 B1 F2 B2', bob: 'F1 B1 F2 B2' })
  })

  it('alternates one forward with one backward at the last stage, and keeps as many under way as it may before it', () => {
    const { before, all } = told(vanilla, 2, 4)
    expect(before).toEqual({ alice: 'F1 F2 F3 B1 F4 B2', bob: 'F1 B1 F2 B2 F3 B3 F4 B4' })
    expect(all).toEqual({ alice: 'F1 F2 F3 B1 F4 B2 B3 B4', bob: 'F1 B1 F2 B2 F3 B3 F4 B4' })
  })

  it('gives stages in between a part of the window', () => {
    expect(lagsOf(hops, 4)).toEqual([0, 0, 0, 0, 2, 4])
    expect(told(hops, 2, 3).all).toEqual({
      alice: 'F1 F2 F3 B1 B2 B3',
      bob: 'F1 F2 B1 F3 B2 B3',
      carol: 'F1 B1 F2 B2 F3 B3',
    })
  })

  it('does not let an owner wait at the end of a U for what it could begin', () => {
    // Forward and backward at the end of the U are one visit after the other; each return to alice or bob waits its turn.
    expect(lagsOf(uShaped, 6)).toEqual([0, 0, 2, 2, 4, 6])
    expect(told(uShaped, 3, 3).all['alice']).toBe('F1 F2 F1 B1 F3 F2 B2 F3 B3 B1 B2 B3')
  })

  it('treats several first segments as one visit', () => {
    expect(lagsOf(vertical, 3)).toEqual([0, 0, 0, 3])
  })

  it('makes every visit of a unit after the one before it, and each once, for any window', () => {
    for (const path of [vanilla, hops, uShaped, vertical]) {
      for (let window = 0; window < 9; window++) {
        const made: [number, number][] = []
        const visits = path.map((_, visit) => (unit: number) => void made.push([visit, unit]))
        const pipeline = new Pipeline(visits, lagsOf(path, window))
        // Twice: a pipeline that was drained starts anew.
        for (let unit = 0; unit < 5; unit++) pipeline.push(unit)
        pipeline.drain()
        for (let unit = 5; unit < 7; unit++) pipeline.push(unit)
        pipeline.drain()
        for (let unit = 0; unit < 7; unit++) {
          expect(made.filter(([, u]) => u === unit).map(([visit]) => visit)).toEqual(path.map((_, visit) => visit))
        }
        for (const visit of path.keys()) {
          expect(made.filter(([v]) => v === visit).map(([, unit]) => unit)).toEqual([0, 1, 2, 3, 4, 5, 6])
        }
        expect(pipeline.size).toBe(0)
      }
    }
  })

  it('gives back what is under way when it is given up, and can be used again', () => {
    const made: string[] = []
    const pipeline = new Pipeline(
      [(unit: string) => made.push(unit), (unit: string) => made.push(`${unit} back`)],
      [0, 2],
    )
    pipeline.push('a')
    pipeline.push('b')
    expect(pipeline.abandon()).toEqual(['a', 'b'])
    pipeline.push('c')
    pipeline.drain()
    expect(made).toEqual(['a', 'b', 'c', 'c back'])
  })
})
