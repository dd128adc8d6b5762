/** Bearer tokens: who comes in, who does not, and that no error tells a token or how close a guess was. */
import { createHash } from 'node:crypto'
import { inspect } from 'node:util'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { type Code, DataError, isSottoError, type SottoErrorLike } from '../../src/errors.ts'
import { createToken, expiryOf, rights, showTokens, type TokenRecord, Tokens } from '../../src/worker/tokens.ts'

/** What is hashed and compared, counted. */
const { hashed, compared } = vi.hoisted(() => ({ hashed: vi.fn(), compared: vi.fn() }))
vi.mock('@noble/hashes/sha2.js', async (original) => {
  const { sha256 } = await original<typeof import('@noble/hashes/sha2.js')>()
  hashed.mockImplementation(sha256)
  return { sha256: hashed }
})
vi.mock('@noble/ciphers/utils.js', async (original) => {
  const { equalBytes } = await original<typeof import('@noble/ciphers/utils.js')>()
  compared.mockImplementation(equalBytes)
  return { equalBytes: compared }
})
afterEach(() => vi.restoreAllMocks())

const NOW = new Date('2030-01-01T00:00:00Z')
const at = (text: string): Date => new Date(text)
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex')
const change = (token: string, index: number): string =>
  token.slice(0, index) + (token[index] === 'a' ? 'b' : 'a') + token.slice(index + 1)

function failureOf(action: () => unknown): SottoErrorLike {
  try {
    action()
  } catch (error) {
    expect(isSottoError(error), String(error)).toBe(true)
    return error as SottoErrorLike
  }
  throw new Error('it was to fail, and did not')
}

/** Whether an error shows any eight characters in a row of a token's id or secret. */
function tells(error: Error, token: string): boolean {
  const shown = inspect(error, { depth: 9, showHidden: true }) + error.message
  const [, id = '', ...rest] = token.split('_')
  return [id, rest.join('_')].some((part) =>
    Array.from({ length: Math.max(0, part.length - 7) }, (_, i) => part.slice(i, i + 8)).some((piece) =>
      shown.includes(piece),
    ),
  )
}

const ana = createToken({ identity: 'ana' })
const ben = createToken({ identity: 'ben', rights: ['stats'], expires: at('2030-06-01T00:00:00Z') })
const tokens = new Tokens([ana.record, ben.record])

describe('a token', () => {
  it('is sotto, an id of 12 letters and digits, and 32 bytes in base64url', () => {
    for (let i = 0; i < 50; i++) {
      const { token, record } = createToken({ identity: 'ana' })
      const [, id, secret] = /^sotto_([0-9A-Za-z]{12})_([\w-]{43})$/.exec(token)!
      expect(id).toBe(record.id)
      expect(Buffer.from(secret!, 'base64url').length).toBe(32)
    }
  })

  it('takes letters and digits alike for its id: of the bytes that are left over, none', () => {
    vi.spyOn(globalThis.crypto, 'getRandomValues').mockImplementation((bytes) => {
      ;(bytes as Uint8Array).set(bytes!.byteLength === 1 ? [drawn.shift()!] : [])
      return bytes
    })
    const drawn = [255, 248, 247, 0, 61, 62, 185, 186, 9, 10, 35, 36, 254, 1, 2]
    expect(createToken({ identity: 'ana' }).record.id).toBe('z0z0z09AZa12')
  })

  it('is stored as its hash, and its secret is nowhere in what is stored', () => {
    const { token, record } = ana
    expect(record).toEqual({ id: token.slice(6, 18), hash: sha256(token), identity: 'ana', rights, expires: null })
    expect(showTokens([record])).not.toContain(token.slice(19))
    expect(ben.record).toMatchObject({ rights: ['stats'], expires: '2030-06-01T00:00:00.000Z' })
  })

  it('lets its bearer in, with the rights and the name that stand in its record', () => {
    expect(tokens.check(ana.token, NOW)).toEqual({
      identity: 'ana',
      rights: ['work', 'ledger', 'stats'],
      id: ana.record.id,
    })
    expect(tokens.check(ben.token, NOW)).toEqual({ identity: 'ben', rights: ['stats'], id: ben.record.id })
  })

  it('is good until the moment that it expires, and no more from then on', () => {
    expect(tokens.check(ben.token, at('2030-05-31T23:59:59.999Z')).identity).toBe('ben')
    for (const now of ['2030-06-01T00:00:00Z', '2031-01-01T00:00:00Z', 'no date']) {
      const error = failureOf(() => tokens.check(ben.token, at(now)))
      expect(error.code).toBe('ERR_TOKEN_EXPIRED')
      expect(tells(error, ben.token)).toBe(false)
    }
    expect(tokens.check(ana.token, at('9999-01-01T00:00:00Z')).identity).toBe('ana')
  })

  it('does not say that it expired to one who guesses', () => {
    const error = failureOf(() => tokens.check(change(ben.token, 30), at('2031-01-01T00:00:00Z')))
    expect(error.code).toBe('ERR_TOKEN')
  })

  it('is checked against the clock of the machine unless another time is given', () => {
    vi.useFakeTimers({ now: at('2030-05-31T00:00:00Z') })
    expect(tokens.check(ben.token).identity).toBe('ben')
    vi.setSystemTime(at('2030-06-02T00:00:00Z'))
    expect(failureOf(() => tokens.check(ben.token)).code).toBe('ERR_TOKEN_EXPIRED')
    vi.useRealTimers()
  })

  const stranger = createToken({ identity: 'mallory' }).token
  const { token } = ana
  const refused: readonly (readonly [string, unknown])[] = [
    ['undefined', undefined],
    ['null', null],
    ['a number', 5],
    ['an object', { token }],
    ['an array', [token]],
    ['an empty one', ''],
    ['a long one', 'a'.repeat(100_000)],
    ['a long one that begins like a token', `${token}${'a'.repeat(100_000)}`],
    ['one of no record', stranger],
    ['the id of one with the secret of another', token.slice(0, 19) + ben.token.slice(19)],
    ['one changed in its id', change(token, 10)],
    ['one changed at the start of its secret', change(token, 19)],
    ['one changed in the middle of its secret', change(token, 40)],
    ['one without its last character', token.slice(0, -1)],
    ['one with white space', ` ${token}`],
    ['one with a line feed', `${token}\n`],
    ['one with padding', `${token}=`],
    ['one in capitals', token.toUpperCase()],
    ['its hash', ana.record.hash],
    ['what stands in for malformed ones', `sotto_${'0'.repeat(12)}_${'0'.repeat(43)}`],
  ]
  it.each(refused)('is refused if it is %s, with one message for all, which shows nothing', (_, value) => {
    expect(tokens.check(token, NOW).identity).toBe('ana')
    const error = failureOf(() => tokens.check(value, NOW))
    const missing = failureOf(() => tokens.check(undefined, NOW))
    expect([error.code, error.message, error.details]).toEqual(['ERR_TOKEN', missing.message, {}])
    expect(error.cause).toBeUndefined()
    expect(tells(error, token) || tells(error, stranger)).toBe(false)
  })

  it.each([['good', token] as const, ...refused])('costs one hash of its length and one comparison: %s', (_, value) => {
    hashed.mockClear()
    compared.mockClear()
    try {
      tokens.check(value, NOW)
    } catch {}
    expect(hashed.mock.calls.map(([bytes]) => bytes.length)).toEqual([token.length])
    expect(compared.mock.calls.map(([a, b]) => [a.length, b.length])).toEqual([[32, 32]])
  })

  it('is told by the check that looks for it', () => {
    expect(tells(new Error(`no such token: ${token}`), token)).toBe(true)
    expect(tells(new Error(`no such token: ${token.slice(25, 40)}`), token)).toBe(true)
    expect(tells(Object.assign(new Error('no'), { details: { id: token.slice(6, 18) } }), token)).toBe(true)
  })

  it.each<[string, Parameters<typeof createToken>[0]]>([
    ['identity', { identity: '' }],
    ['identity', { identity: 'a'.repeat(257) }],
    ['identity', { identity: 5 as never }],
    ['rights', { identity: 'ana', rights: [] }],
    ['rights.1', { identity: 'ana', rights: ['work', 'everything' as never] }],
    ['expires', { identity: 'ana', expires: new Date('never') }],
    ['expires', { identity: 'ana', expires: new Date(8.64e15) }],
  ])('is not made of a wrong %s', (field, options) => {
    const error = failureOf(() => createToken(options))
    expect(error.code).toBe('ERR_ARGUMENT_VALUE')
    expect(error.message).toContain(`"${field}"`)
  })
})

describe('a file of tokens', () => {
  const text = showTokens([ana.record, ben.record])
  const { tokens: records } = JSON.parse(text) as { tokens: TokenRecord[] }
  const [record] = records as [TokenRecord]
  const parse = (value: unknown): Tokens => Tokens.parse(JSON.stringify(value), 'conf/tokens.json')

  it('is read as it was written', () => {
    expect(records).toEqual([ana.record, ben.record])
    expect(text.endsWith('}\n')).toBe(true)
    const read = Tokens.parse(text)
    expect(read.check(ana.token, NOW).identity).toBe('ana')
    expect(read.check(ben.token, NOW).rights).toEqual(['stats'])
    expect(failureOf(() => Tokens.parse(showTokens([])).check(ana.token)).code).toBe('ERR_TOKEN')
  })

  it('has nothing in it that a record should not have', () => {
    expect(showTokens([{ ...ana.record, token: ana.token } as TokenRecord])).toBe(showTokens([ana.record]))
  })

  it.each([
    ['no object', 'tokens', ''],
    ['null', null, ''],
    ['a list', [record], 'tokens'],
    ['no tokens', {}, 'tokens'],
    ['something else', { tokens: [], more: 1 }, ''],
    ['something else with a name of ours', { tokens: [], id: 1 }, ''],
    ['tokens that are no list', { tokens: {} }, 'tokens'],
    ['the same id twice', { tokens: [record, record] }, 'tokens'],
    ['a record that is text', { tokens: [record, ana.token] }, 'tokens.1'],
    ['a record with a field more', { tokens: [{ ...record, note: '' }] }, 'tokens.0'],
    ['a record with a token for a field', { tokens: [{ ...record, [ana.token]: '' }] }, 'tokens.0'],
    ['a record without its hash', { tokens: [{ ...record, hash: undefined }] }, 'tokens.0.hash'],
    ['a hash that is short', { tokens: [{ ...record, hash: record.hash.slice(1) }] }, 'tokens.0.hash'],
    ['a hash in capitals', { tokens: [{ ...record, hash: 'A'.repeat(64) }] }, 'tokens.0.hash'],
    ['a token for its hash', { tokens: [{ ...record, hash: ana.token }] }, 'tokens.0.hash'],
    ['a token for an id', { tokens: [{ ...record, id: ana.token }] }, 'tokens.0.id'],
    ['no name', { tokens: [{ ...record, identity: '' }] }, 'tokens.0.identity'],
    ['no rights', { tokens: [{ ...record, rights: [] }] }, 'tokens.0.rights'],
    ['rights that are text', { tokens: [{ ...record, rights: 'work' }] }, 'tokens.0.rights'],
    ['a right that is none', { tokens: [{ ...record, rights: ['work', 'admin'] }] }, 'tokens.0.rights.1'],
    ['no word of its end', { tokens: [{ ...record, expires: undefined }] }, 'tokens.0.expires'],
    ['an end that is a number', { tokens: [{ ...record, expires: 5 }] }, 'tokens.0.expires'],
    ['an end on a day that is none', { tokens: [{ ...record, expires: '2030-02-30' }] }, 'tokens.0.expires'],
    [
      'an end that depends on where one is',
      { tokens: [{ ...record, expires: '2030-02-03T10:00' }] },
      'tokens.0.expires',
    ],
  ])('is refused with %s, and the error names source and field', (_, value, field) => {
    expect(parse({ tokens: [record] }).check(ana.token, NOW).identity).toBe('ana')
    const error = failureOf(() => parse(value))
    expect(error).toBeInstanceOf(DataError)
    expect(error.code).toBe('ERR_DATA_FORMAT')
    expect(error.details).toEqual({ source: 'conf/tokens.json', field })
    expect(error.message).toMatch(
      field === '' ? /^conf\/tokens\.json: expected / : `conf/tokens.json: "${field}" expected `,
    )
    expect(tells(error, ana.token) || error.message.includes('note')).toBe(false)
  })

  it('is refused if it is no JSON, and the error does not quote it', () => {
    for (const wrong of ['', '{', ana.token, `{"tokens": [${ana.token}]}`]) {
      const error = failureOf(() => Tokens.parse(wrong))
      expect([error.code, error.message]).toEqual(['ERR_DATA_FORMAT', 'tokens: expected JSON'])
      expect(error.cause).toBeUndefined()
      expect(tells(error, ana.token)).toBe(false)
    }
  })

  it('is checked when its records are given as they are, too', () => {
    const wrong: [unknown, string][] = [
      [undefined, 'tokens'],
      [[{ ...record, expires: 'soon' }], 'tokens.0.expires'],
      [[record, record], 'tokens'],
    ]
    for (const [value, field] of wrong) {
      const error = failureOf(() => new Tokens(value as TokenRecord[]))
      expect([error.code, error.details['field']]).toEqual(['ERR_ARGUMENT_VALUE' satisfies Code, field])
    }
  })
})

describe('a time of expiry', () => {
  it.each([
    ['30d', '2030-01-31T00:00:00.000Z'],
    ['12h', '2030-01-01T12:00:00.000Z'],
    ['90m', '2030-01-01T01:30:00.000Z'],
    ['1m', '2030-01-01T00:01:00.000Z'],
    ['2030-02-28', '2030-02-28T00:00:00.000Z'],
    ['2032-02-29', '2032-02-29T00:00:00.000Z'],
    ['2030-12-31T18:00Z', '2030-12-31T18:00:00.000Z'],
    ['2030-12-31T18:00:30Z', '2030-12-31T18:00:30.000Z'],
    ['2030-12-31T18:00:30.250Z', '2030-12-31T18:00:30.250Z'],
    ['2030-12-31T18:00:00+02:00', '2030-12-31T16:00:00.000Z'],
  ])('is read from %s', (text, expected) => {
    const date = expiryOf(text, NOW)
    expect(date.toISOString()).toBe(expected)
    const { record, token } = createToken({ identity: 'ana', expires: date })
    expect(Tokens.parse(showTokens([record])).check(token, NOW).identity).toBe('ana')
  })

  it.each([
    ['', '30', 'd', '30 d', '30D', '-1d', '+1d', '1.5h', '1e3d', '1234567d', '5s', '1w', '30d12h', ' 30d', '30d\n'],
    ['2030-02-29', '2030-02-30', '2030-13-01', '2030-00-10', '2030-1-1', '2030', '01.02.2030', '2030-01-05T10:00:00'],
    ['2030-01-05T25:00:00Z', '2030-01-05 10:00:00Z', 'tomorrow', '1893456000000', '2030-01-05Z', '+012030-01-01'],
    ['0d', '0m', '2029-12-31', '2030-01-01', '2030-01-01T00:00:00Z'],
  ])('is not read from anything else: %j, …', (...texts) => {
    for (const text of texts) {
      expect(failureOf(() => expiryOf(text, NOW)).code, JSON.stringify(text)).toBe('ERR_ARGUMENT_VALUE')
    }
  })

  it('is not read from a token that was given in its place, and the error does not show it', () => {
    expect(
      tells(
        failureOf(() => expiryOf(ana.token, NOW)),
        ana.token,
      ),
    ).toBe(false)
  })
})
