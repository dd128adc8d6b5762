import { describe, expect, it } from 'vitest'
import { PairwiseParty, type PairwiseSettings, sumOfPairwiseMasked } from '../../../src/federated/secagg/pairwise.ts'
import { toBytes, type Vector } from '../../../src/federated/secagg/vectors.ts'
import { Identity } from '../../../src/worker/identity.ts'
import { ByteCounts, byteBound, fromUniform } from '../../reference/chi-square.ts'
import { exactSum, range } from './cohort.ts'

const code = (name: string) => expect.objectContaining({ code: name })

function group(n: number, options: Partial<PairwiseSettings> = {}) {
  const identities = range(n).map(() => Identity.generate())
  const parties = Object.fromEntries(identities.map(({ key }, i) => [`p${i}`, key]))
  const settings: PairwiseSettings = { session: crypto.randomUUID(), parties, length: 1500, ...options }
  return { settings, identities, parties: identities.map((one, i) => new PairwiseParty(`p${i}`, one, settings)) }
}

describe('masks in pairs, without dropouts', () => {
  it.each([32, 64] as const)('leave the exact sum modulo 2^%i, and of each vector noise', (modulus) => {
    const { settings, parties } = group(4, { modulus })
    const vectors = parties.map(
      (_, i): Vector =>
        modulus === 32 ? new Uint32Array(1500).fill(2 ** 31 + i) : new BigUint64Array(1500).fill(2n ** 63n + BigInt(i)),
    )
    for (const round of [0, 1]) {
      const begun = parties.map((party) => party.round(round))
      const keys = begun.map(({ key }) => key)
      const masked = new Map(begun.map(({ mask }, i) => [`p${i}`, mask(keys, vectors[i]!)]))
      expect([...sumOfPairwiseMasked(settings, masked)].map(BigInt)).toEqual(exactSum(vectors, modulus))
      for (const vector of masked.values()) {
        expect(fromUniform(new ByteCounts().add(toBytes(vector)))).toBeLessThan(byteBound)
      }
    }
    expect(fromUniform(new ByteCounts().add(toBytes(vectors[0]!)))).toBeGreaterThan(byteBound)
  })

  it('bear no dropouts, and say so', () => {
    const { settings, parties } = group(3)
    const begun = parties.map((party) => party.round(0))
    const keys = begun.map(({ key }) => key)
    const masked = new Map([0, 2].map((i) => [`p${i}`, begun[i]!.mask(keys, new Uint32Array(1500))]))
    expect(() => sumOfPairwiseMasked(settings, masked)).toThrow(code('ERR_COHORT'))
  })

  it('are good for one vector and one round', () => {
    const { parties } = group(2)
    const [one, two] = parties.map((party) => party.round(3))
    const keys = [one!.key, two!.key]
    one!.mask(keys, new Uint32Array(1500))
    expect(() => one!.mask(keys, new Uint32Array(1500))).toThrow(code('ERR_USED_TWICE'))
    expect(() => parties[0]!.round(3)).toThrow(code('ERR_USED_TWICE'))
  })

  it('are refused with keys that are missing, twice, changed, of another round, or of low order', () => {
    const { settings, identities, parties } = group(3)
    const before = parties.map((party) => party.round(0))
    const begun = parties.map((party) => party.round(1))
    const [a, b, c] = begun.map(({ key }) => key)
    const mask = (...keys: unknown[]) => begun[0]!.mask(keys as never, new Uint32Array(1500))
    expect(() => mask(a, b)).toThrow(code('ERR_PROTOCOL'))
    expect(() => mask(a, b, b)).toThrow(code('ERR_PROTOCOL'))
    expect(() => mask(a, b, { ...c!, key: b!.key })).toThrow(code('ERR_IDENTITY'))
    expect(() => mask(a, b, before[2]!.key)).toThrow(code('ERR_IDENTITY'))
    expect(() => mask(a, b, { ...c!, id: 'zoe' })).toThrow(code('ERR_IDENTITY'))
    expect(() => mask(a, b, { ...c!, key: c!.key.slice(1) })).toThrow(code('ERR_IDENTITY'))
    expect(() => begun[0]!.mask([a!, b!, c!], new Uint32Array(3))).toThrow(code('ERR_SHAPE'))
    // What was refused used nothing up.
    expect(mask(a, b, c)).toHaveLength(1500)

    expect(() => new PairwiseParty('p0', identities[1]!, settings)).toThrow(code('ERR_IDENTITY'))
    for (const wrong of [{ parties: { p0: identities[0]!.key } }, { length: 0 }, { modulus: 8 }, { session: '' }]) {
      expect(() => new PairwiseParty('p0', identities[0]!, { ...settings, ...(wrong as object) })).toThrow(
        code('ERR_ARGUMENT_VALUE'),
      )
    }
  })
})
