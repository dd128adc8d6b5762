/** Strategies against twins that are the papers' formulas, coordinate by coordinate, and against laws. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  checkStrategy,
  coordinateMedian,
  fedAdagrad,
  fedAdam,
  fedAvg,
  fedProx,
  fedSgd,
  fedYogi,
  type ServerStep,
  type Strategy,
  type StrategyState,
  trimmedMean,
} from '../../../src/federated/strategies/index.ts'

const runs = { seed: Number(process.env['SOTTO_SEED'] ?? 1), numRuns: process.env['SOTTO_LONG'] ? 1000 : 100 }
const code = (name: string) => expect.objectContaining({ code: name })
const f32 = (...values: number[]) => Float32Array.from(values)
const f64 = (...values: number[]) => Float64Array.from(values)

/** All that have a step of their own, stateful or not. */
const strategies: readonly Strategy[] = [
  fedAvg(),
  fedAvg({ learningRate: 0.3 }),
  fedProx({ mu: 0.1 }),
  fedSgd({ learningRate: 0.1 }),
  fedSgd({ learningRate: 0.1, momentum: 0.9 }),
  fedAdam({ learningRate: 0.1 }),
  fedYogi({ learningRate: 0.1, beta1: 0.5, beta2: 0.7, tau: 0.01 }),
  fedAdagrad({ learningRate: 0.1 }),
  fedAdagrad({ learningRate: 0.1, beta1: 0.9 }),
  coordinateMedian(),
  trimmedMean({ trim: 0.2, learningRate: 0.5 }),
]
const named = strategies.map((strategy, i) => [`${strategy.name} (${i})`, strategy] as const)

/** One coordinate of a strategy, as its paper has it: weight, mean and what was kept, in one round. */
type Twin = (w: number, mean: number, kept: Record<string, number>) => number

/** Reddi et al., Algorithm 2, lines 10 to 15. */
const reddi =
  (eta: number, beta1: number, tau: number, v: (before: number, square: number) => number): Twin =>
  (x, delta, kept) => {
    kept['m'] = beta1 * (kept['m'] ?? 0) + (1 - beta1) * delta
    kept['v'] = v(kept['v'] ?? tau * tau, delta * delta)
    return x + (eta * kept['m']) / (Math.sqrt(kept['v']) + tau)
  }
const yogi = (beta2: number) => (v: number, square: number) => {
  if (v > square) return v - (1 - beta2) * square
  return v < square ? v + (1 - beta2) * square : v
}

const twins: readonly (readonly [string, Strategy, Twin])[] = [
  ['fedAvg', fedAvg({ learningRate: 0.7 }), (w, mean) => w + 0.7 * mean],
  ['fedProx', fedProx({ mu: 0.3 }), (w, mean) => w + mean],
  ['fedSgd', fedSgd({ learningRate: 0.2 }), (w, gradient) => w - 0.2 * gradient],
  [
    'fedSgd with momentum',
    fedSgd({ learningRate: 0.2, momentum: 0.9 }),
    (w, gradient, kept) => {
      kept['v'] = 0.9 * (kept['v'] ?? 0) + gradient
      return w - 0.2 * kept['v']
    },
  ],
  ['fedAdam', fedAdam({ learningRate: 0.1 }), reddi(0.1, 0.9, 1e-3, (v, square) => 0.99 * v + (1 - 0.99) * square)],
  [
    'fedAdam with options',
    fedAdam({ learningRate: 0.03, beta1: 0.8, beta2: 0.6, tau: 0.02 }),
    reddi(0.03, 0.8, 0.02, (v, square) => 0.6 * v + (1 - 0.6) * square),
  ],
  ['fedYogi', fedYogi({ learningRate: 0.1 }), reddi(0.1, 0.9, 1e-3, yogi(0.99))],
  [
    'fedYogi with options',
    fedYogi({ learningRate: 0.03, beta1: 0, beta2: 0.3, tau: 0.5 }),
    reddi(0.03, 0, 0.5, yogi(0.3)),
  ],
  ['fedAdagrad', fedAdagrad({ learningRate: 0.1 }), reddi(0.1, 0, 1e-3, (v, square) => v + square)],
  ['fedAdagrad with momentum', fedAdagrad({ learningRate: 0.1, beta1: 0.9 }), reddi(0.1, 0.9, 1e-3, (v, s) => v + s)],
]

const coordinate = fc.double({ min: -10, max: 10, noNaN: true })
/** Rounds of means for a model of three weights. */
const means = fc.array(fc.tuple(coordinate, coordinate, coordinate), { minLength: 1, maxLength: 6 })
const start = fc.tuple(coordinate, coordinate, coordinate)

/** Goes through rounds; `between` may do something to the state after each. */
function train(
  strategy: Strategy,
  weights: Float32Array,
  rounds: readonly (readonly number[])[],
  between: (state: StrategyState) => StrategyState = (state) => state,
): ServerStep {
  let last: ServerStep = { weights, state: {} }
  for (const [round, mean] of rounds.entries()) {
    last = strategy.step(last.weights, Float64Array.from(mean), between(last.state), round)
  }
  return last
}

describe('a step', () => {
  it.each(twins)('of %s is what the paper writes, over several rounds', (_, strategy, twin) => {
    fc.assert(
      fc.property(start, means, (first, rounds) => {
        const { weights } = train(strategy, Float32Array.from(first), rounds)
        for (const [i, w] of first.entries()) {
          const kept: Record<string, number> = {}
          // The model is float32 between rounds; all else is double, and the same formula in another order of operations
          // is off by some 2^−50 of what is added: by less than one float32 each round.
          const expected = rounds.reduce((x, mean) => Math.fround(twin(x, mean[i]!, kept)), Math.fround(w))
          const largest = Math.max(Math.abs(w), 1) + 100 * rounds.length
          expect(Math.abs(weights[i]! - expected)).toBeLessThanOrEqual(rounds.length * largest * 2 ** -24)
        }
      }),
      runs,
    )
  })

  it('of fedAvg with learning rate 1 adds the mean to the weights', () => {
    fc.assert(
      fc.property(start, start, (weights, mean) => {
        const next = fedAvg().step(Float32Array.from(weights), Float64Array.from(mean), {}, 0)
        expect(next).toEqual({
          weights: Float32Array.from(weights, (w, i) => Math.fround(w) + mean[i]!),
          state: {},
        })
      }),
      runs,
    )
  })

  it.each([
    // m = 0.1·2; v = 0.99·0.25 + 0.01·4 = 0.2875; √v = 0.5361902646…
    ['fedAdam', fedAdam({ learningRate: 1, tau: 0.5 }), { momentum: 0.2, squares: 0.2875 }, 0.2 / 1.0361902647381804],
    // v = 0.25 + 0.01·4, for 0.25 is less than 4
    ['fedYogi', fedYogi({ learningRate: 1, tau: 0.5 }), { momentum: 0.2, squares: 0.29 }, 0.2 / 1.0385164807134504],
    // m = 2; v = 0.25 + 4, whose root is 2.0615528128…
    ['fedAdagrad', fedAdagrad({ learningRate: 1, tau: 0.5 }), { momentum: 2, squares: 4.25 }, 2 / 2.5615528128088303],
  ])('of %s by hand: Δ = 2, τ = 0.5, nothing corrected for its start', (_, strategy, kept, moved) => {
    const { weights, state } = strategy.step(f32(1), f64(2), {}, 0)
    for (const [name, value] of Object.entries(kept)) expect(state[name]![0]).toBeCloseTo(value, 14)
    expect(weights[0]).toBe(Math.fround(1 + moved))
  })

  it('of fedYogi forgets a large round slowly, where fedAdam forgets it by a hundredth of all', () => {
    const rounds = [[10], [0.1]]
    const [adam, yogi] = [fedAdam, fedYogi].map((make) => train(make({ learningRate: 0.1 }), f32(0), rounds).state)
    // After the first: 0.01·100, and τ². Then 0.99 of it and 0.01·0.01; and all of it less 0.01·0.01.
    expect(adam!['squares']![0]).toBeCloseTo(0.99 * (0.99e-6 + 1) + 1e-4, 12)
    expect(yogi!['squares']![0]).toBeCloseTo(1 + 1e-6 - 1e-4, 12)
  })

  it('of fedSgd with momentum by hand', () => {
    const { weights, state } = train(fedSgd({ learningRate: 0.5, momentum: 0.5 }), f32(1, 0), [
      [2, 0],
      [4, -8],
    ])
    expect(state).toEqual({ velocity: f64(5, -8) })
    expect(weights).toEqual(f32(1 - 1 - 2.5, 4))
  })

  it('goes where a minimum is: ‖w‖² by its gradient, or by what ten steps of training change', () => {
    for (const [name, strategy] of named) {
      let last: ServerStep = { weights: f32(3, -2), state: {} }
      const loss = () => last.weights.reduce((sum, w) => sum + w ** 2, 0)
      for (let round = 0; round < 120; round++) {
        const mean = Float64Array.from(last.weights, (w) =>
          strategy.sends === 'gradient' ? 2 * w : (0.8 ** 10 - 1) * w,
        )
        last = strategy.step(last.weights, mean, last.state, round)
      }
      expect(loss(), name).toBeLessThan(13 / 4)
    }
  })
})

describe.each(named)('the step of %s', (_, strategy) => {
  it('changes nothing that it is given, and keeps nothing', () => {
    const rounds = [
      [1, 2, -3],
      [-0.5, 0.25, 1],
    ]
    const before = train(strategy, f32(1, 2, 3), rounds)
    const mean = f64(0.5, -4, 1e-3)
    const copy = structuredClone({ before, mean })
    const once = strategy.step(before.weights, mean, before.state, 2)
    expect({ before, mean }).toEqual(copy)
    expect(once.weights).not.toBe(before.weights)
    expect(strategy.step(before.weights, mean, before.state, 2)).toEqual(once)
    for (const vector of Object.values(once.state)) expect(Object.values(before.state)).not.toContain(vector)
  })

  it('goes on from a state that was written down and read again as it would have gone on', () => {
    fc.assert(
      fc.property(start, means, (first, rounds) => {
        const weights = Float32Array.from(first)
        const through = (state: StrategyState): StrategyState =>
          Object.fromEntries(
            Object.entries(state).map(([name, vector]) => {
              const text = JSON.stringify(
                Array.from(new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength)),
              )
              return [name, new Float64Array(Uint8Array.from(JSON.parse(text) as number[]).buffer)]
            }),
          )
        expect(train(strategy, weights, rounds, through)).toEqual(train(strategy, weights, rounds))
      }),
      { ...runs, numRuns: 20 },
    )
  })

  it('keeps vectors as long as the model', () => {
    for (const vector of Object.values(train(strategy, f32(1, 2, 3), [[1, 2, 3]]).state)) expect(vector).toHaveLength(3)
  })

  it('refuses a mean or a state of another length, and a state of another strategy', () => {
    const step = (mean: Float64Array, state: StrategyState = {}) => strategy.step(f32(1, 2), mean, state, 0)
    expect(() => step(f64(1))).toThrow(code('ERR_SHAPE'))
    expect(() => step(f64(1, 2, 3))).toThrow(code('ERR_SHAPE'))
    const { state } = step(f64(1, 2))
    for (const name of Object.keys(state)) {
      expect(() => step(f64(1, 2), { ...state, [name]: f64(1) })).toThrow(code('ERR_SHAPE'))
      const { [name]: _, ...others } = state
      const isFirst = Object.keys(others).length === 0
      if (!isFirst) expect(() => step(f64(1, 2), others)).toThrow(code('ERR_CHECKPOINT_MISMATCH'))
    }
    expect(() => step(f64(1, 2), { ...state, other: f64(1, 2) })).toThrow(code('ERR_CHECKPOINT_MISMATCH'))
  })

  it('refuses a mean that is not finite, and weights that would not be', () => {
    const value = code('ERR_ARGUMENT_VALUE')
    for (const bad of [Number.NaN, Infinity, -Infinity]) {
      expect(() => strategy.step(f32(1, 2), f64(0, bad), {}, 0)).toThrow(value)
      expect(() => strategy.step(f32(1, bad), f64(0, 0), {}, 0)).toThrow(value)
    }
  })
})

it('a step out of the range of float32 is refused, and says what to do', () => {
  expect(() => fedAvg().step(f32(3e38), f64(3e38), {}, 0)).toThrow(
    'fedAvg: the step leaves weights that are not finite',
  )
})

describe('clients', () => {
  it('send gradients to fedSgd and updates to the others, and only those of fedProx are held back', () => {
    expect(strategies.filter(({ sends }) => sends === 'gradient').every(({ name }) => name === 'fedSgd')).toBe(true)
    expect(fedSgd({ learningRate: 1 }).sends).toBe('gradient')
    expect(strategies.filter(({ proximal }) => proximal !== 0)).toHaveLength(1)
    expect(fedProx({ mu: 0.1 })).toMatchObject({ name: 'fedProx', proximal: 0.1, sends: 'update' })
  })

  it('are seen one by one by the robust statistics only', () => {
    const seeing = strategies.filter(({ combine }) => combine !== undefined).map(({ name }) => name)
    expect(seeing).toEqual(['coordinateMedian', 'trimmedMean'])
  })
})

describe('options', () => {
  it('out of range are refused', () => {
    const value = code('ERR_ARGUMENT_VALUE')
    for (const learningRate of [0, -1, Number.NaN, Infinity]) {
      for (const make of [fedAvg, fedSgd, fedAdam, fedYogi, fedAdagrad, coordinateMedian]) {
        expect(() => make({ learningRate })).toThrow(value)
      }
      expect(() => fedProx({ mu: 1, learningRate })).toThrow(value)
      expect(() => trimmedMean({ trim: 0.1, learningRate })).toThrow(value)
    }
    expect(() => fedProx({ mu: -1 })).toThrow(value)
    expect(() => fedSgd({ learningRate: 1, momentum: 1 })).toThrow(value)
    for (const make of [fedAdam, fedYogi]) {
      expect(() => make({ learningRate: 1, beta2: 1 })).toThrow(value)
      expect(() => make({ learningRate: 1, beta1: 1 })).toThrow(value)
      expect(() => make({ learningRate: 1, tau: 0 })).toThrow(value)
    }
    for (const trim of [0.5, -0.1, Number.NaN]) expect(() => trimmedMean({ trim })).toThrow(value)
  })

  it('that are missing, misspelt or of no use are refused', () => {
    expect(() => fedAdam({} as never)).toThrow(code('ERR_ARGUMENT_TYPE'))
    expect(() => fedProx({} as never)).toThrow('fedProx: "mu" expected a finite number from 0, got undefined')
    expect(() => trimmedMean(undefined as never)).toThrow(code('ERR_ARGUMENT_TYPE'))
    expect(() => fedAvg({ lr: 1 } as never)).toThrow('fedAvg: unknown option "lr"')
    expect(() => fedAdagrad({ learningRate: 1, beta2: 0.9 } as never)).toThrow('fedAdagrad: unknown option "beta2"')
  })
})

describe('whatever is given as a strategy', () => {
  it.each(named)('is taken when it is one: %s', (_, strategy) => {
    expect(checkStrategy('Federation', strategy)).toBe(strategy)
  })

  it("is taken when it is a user's own, an object of a class too", () => {
    class SignSgd {
      readonly name = 'sign'
      readonly sends = 'gradient'
      readonly proximal = 0
      step(weights: Float32Array, mean: Float64Array): ServerStep {
        return { weights: weights.map((w, i) => w - 0.1 * Math.sign(mean[i]!)), state: {} }
      }
    }
    const own: Strategy = new SignSgd()
    expect(checkStrategy('Federation', own).step(f32(1), f64(5), {}, 0).weights).toEqual(f32(0.9))
    const mixed: Strategy = { ...fedAdam({ learningRate: 0.1 }), combine: coordinateMedian().combine! }
    expect(checkStrategy('Federation', mixed)).toBe(mixed)
  })

  it.each<[string, unknown, string, string]>([
    ['nothing', undefined, 'ERR_ARGUMENT_TYPE', 'such as fedAvg()'],
    ['a name', 'fedAvg', 'ERR_ARGUMENT_TYPE', 'such as fedAvg()'],
    ['a factory that was not called', fedAvg, 'ERR_ARGUMENT_TYPE', 'got a function; call it'],
    ['no name', { ...fedAvg(), name: '' }, 'ERR_ARGUMENT_TYPE', 'a "name"'],
    [
      'nothing to send',
      { ...fedAvg(), sends: 'weights' },
      'ERR_ARGUMENT_VALUE',
      `"sends" to be 'update' or 'gradient'`,
    ],
    ['no proximal', { ...fedAvg(), proximal: undefined }, 'ERR_ARGUMENT_TYPE', '"proximal" to be a number'],
    ['a negative proximal', { ...fedAvg(), proximal: -1 }, 'ERR_ARGUMENT_VALUE', 'from 0, got -1'],
    ['no step', { ...fedAvg(), step: undefined }, 'ERR_ARGUMENT_TYPE', '"step" to be a function'],
    ['a combine that is none', { ...fedAvg(), combine: true }, 'ERR_ARGUMENT_TYPE', '"combine" to be a function'],
  ])('is refused when it is none: %s', (_, strategy, expected, says) => {
    expect(() => checkStrategy('Federation', strategy)).toThrow(code(expected))
    expect(() => checkStrategy('Federation', strategy)).toThrow(`Federation: "strategy" expected`)
    expect(() => checkStrategy('Federation', strategy)).toThrow(says)
  })
})
