import { describe, expect, it } from 'vitest'
import { checkSettings, type SecAggSettings } from '../../../src/federated/secagg/settings.ts'
import { Identity } from '../../../src/worker/identity.ts'

const members = Object.fromEntries(['a', 'b', 'c'].map((id) => [id, Identity.generate().key]))
const settings: SecAggSettings = { session: 'a session', members, length: 4 }

describe('settings of secure aggregation', () => {
  it('are checked once when they are frozen with their members', () => {
    const frozen = Object.freeze({ ...settings, members: Object.freeze({ ...members }) })
    expect(checkSettings('test', frozen)).toBe(checkSettings('test', frozen))
    expect(checkSettings('test', frozen).digest).toEqual(checkSettings('test', settings).digest)
  })

  it('are checked each time when they, or their members, may change', () => {
    const changing = { ...members }
    const half = Object.freeze({ ...settings, members: changing })
    expect(checkSettings('test', half).members.size).toBe(3)
    changing['d'] = Identity.generate().key
    expect(checkSettings('test', half).members.size).toBe(4)
    changing['e'] = 'no key'
    expect(() => checkSettings('test', half)).toThrow('the key of member e is none')
  })
})
