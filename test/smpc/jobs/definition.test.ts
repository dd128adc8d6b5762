/** Files of jobs in secret: what they may say, who gets to see what, and what they have for an id. */
import { describe, expect, it } from 'vitest'
import {
  audienceOf,
  idOf,
  inputsOf,
  layersOf,
  partiesOf,
  resultsOf,
  secretJobFrom,
} from '../../../src/smpc/jobs/definition.ts'
import { Identity } from '../../../src/worker/identity.ts'

const layers = { class_name: 'Sequential', config: [] }
const said = {
  name: 'prices',
  compute: ['s0', 's1', 's2'],
  inputs: {
    rooms: { from: 'agency' },
    more: { from: 'bank' },
    prices: { from: 'bank' },
    net: { from: 'owner', layers },
  },
  steps: [
    { do: 'linearRegression', x: { columns: ['rooms', 'more'] }, y: 'prices', as: 'weights' },
    { do: 'predict', model: 'weights', x: { columns: ['rooms', 'more'] }, as: 'guesses' },
    { do: 'predict', model: 'net', x: 'rooms', as: 'others' },
    { do: 'mean', of: ['rooms', 'more'], as: 'middle' },
  ],
  revealTo: { weights: ['analyst'], others: ['agency', 'dana'] },
}
const job = secretJobFrom(said)

describe('a job in secret', () => {
  it('has parties that bring something, compute, and get something', () => {
    expect(partiesOf(job)).toEqual(['s0', 's1', 's2', 'agency', 'bank', 'owner', 'analyst', 'dana'])
    expect(inputsOf(job, 'bank')).toEqual(['more', 'prices'])
    expect(resultsOf(job, 'agency')).toEqual(['others'])
  })

  it('lets those alone see what comes of an input to whom something is opened that it goes into', () => {
    expect(audienceOf(job, 'rooms').sort()).toEqual(['agency', 'analyst', 'dana'])
    expect(audienceOf(job, 'prices')).toEqual(['analyst'])
    expect(audienceOf(job, 'net')).toEqual(['agency', 'dana'])
    const scripted = secretJobFrom({
      ...said,
      steps: [...said.steps, { do: 'script', file: 'a.mjs', sha256: '0'.repeat(64), as: ['made'] }],
      revealTo: { made: ['dana'] },
    })
    // Whatever it uses.
    for (const input of Object.keys(said.inputs)) expect(audienceOf(scripted, input)).toEqual(['dana'])
  })

  it('knows the layers of a model that comes of it, trained or not', () => {
    const fit = { do: 'fit', x: 'rooms', y: 'prices', loss: 'meanSquaredError', optimizer: { kind: 'adam' } }
    const trained = secretJobFrom({
      ...said,
      steps: [
        { ...fit, model: 'net', as: 'first' },
        { ...fit, model: { layers }, as: 'second' },
      ],
      revealTo: { first: ['dana'], second: ['dana'] },
    })
    expect(layersOf(trained, 'first')).toEqual(layers)
    expect(layersOf(trained, 'second')).toEqual(layers)
    expect(layersOf(job, 'weights')).toBe(null)
  })

  it('has an id that any change changes, and the order of names does not', () => {
    const { steps, name, ...rest } = said
    expect(idOf(secretJobFrom({ ...rest, steps, name }))).toBe(idOf(job))
    const ids = [
      job,
      ...[
        { name: 'other' },
        { compute: ['s1', 's0', 's2'] },
        { precision: { digits: 20 } },
        { steps: said.steps.slice(0, 3) },
        { revealTo: { weights: ['analyst'] } },
        { consent: ['bank'] },
        { inputs: { ...said.inputs, prices: { from: 'agency' } } },
      ].map((change) => secretJobFrom({ ...said, ...change })),
    ].map(idOf)
    expect(new Set(ids).size).toBe(ids.length)
  })

  const key = Identity.generate().key
  const fitting = (checkpoints: object) => ({
    steps: [
      {
        do: 'fit',
        model: 'net',
        x: 'rooms',
        y: 'prices',
        loss: 'meanSquaredError',
        optimizer: { kind: 'adam' },
        checkpoints,
        as: 'weights',
      },
    ],
  })
  const step = (change: object) => ({ steps: [{ ...said.steps[0], ...change }] })
  it.each<[string, object, string]>([
    ['a field that there is not', { reveal: {} }, '"reveal"'],
    ['no step', { steps: [] }, '"steps"'],
    ['two that compute', { compute: ['s0', 's1'] }, '"compute'],
    ['one that computes twice', { compute: ['s0', 's1', 's1'] }, 'three parties, each once'],
    ['an input of one who computes', { inputs: { ...said.inputs, rooms: { from: 's1' } } }, 's1 computes, and sees'],
    ['a result for one who computes', { revealTo: { weights: ['s2'] } }, 's2 computes, and sees'],
    ['a result twice for one', { revealTo: { weights: ['dana', 'dana'] } }, 'names a party twice'],
    ['a result for nobody', { revealTo: { weights: [] } }, '"revealTo.weights"'],
    ['no result', { revealTo: {} }, 'a result that somebody gets to see'],
    ['a result that no step gives', { revealTo: { sum: ['dana'] } }, 'no step gives it'],
    ['an input for a result', { revealTo: { rooms: ['dana'] } }, 'it is an input'],
    ['a step that there is not', step({ do: 'eval' }), '"steps.0'],
    ['a setting that a step does not take', step({ rate: 1 }), '"steps.0.rate"'],
    ['what is not there by then', step({ x: 'guesses' }), 'there is no guesses by then'],
    ['a model for rows', step({ x: 'net' }), 'net is a model'],
    [
      'rows for a model',
      { steps: [{ do: 'predict', model: 'rooms', x: 'rooms', as: 'weights' }] },
      'rooms is a tensor',
    ],
    ['a name twice', step({ as: 'rooms' }), 'something of the name rooms already'],
    ['a name that is none', step({ as: '../x' }), 'expected a name'],
    ['a name that leads out of a folder', { revealTo: { '..': ['dana'] } }, 'expected a name'],
    ['a hash that is none', { steps: [{ do: 'script', file: 'a', sha256: 'x', as: ['weights'] }] }, '64 hexadecimal'],
    ['a key that is none', { keys: { s0: 'ed25519:x' } }, 'expected a key'],
    ['keys of some', { keys: { s0: key } }, 'has none of s1'],
    [
      'one key for two',
      { keys: Object.fromEntries(partiesOf(job).map((party) => [party, key])) },
      'the same key for two',
    ],
    ['the consent of one who computes', { consent: ['s1'] }, 's1 computes, and sees'],
    ['the consent of one who has no part', { consent: ['dora'] }, 'dora neither brings nor gets'],
    ['a consent twice', { consent: ['bank', 'bank'] }, '"consent" names a party twice'],
    ['checkpoints after no batch', fitting({ every: 0 }), '"steps.0.checkpoints.every"'],
    ['a list', [] as object, 'job'],
  ])('is refused with %s', (_, change, message) => {
    const content = Array.isArray(change) ? change : { ...said, revealTo: { weights: ['analyst'] }, ...change }
    expect(() => secretJobFrom(content)).toThrow(
      expect.objectContaining({ code: 'ERR_JOB', message: expect.stringContaining(message) }),
    )
  })
})
