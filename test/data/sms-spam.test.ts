import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { loadSmsSpam, parseLabelledMessages, smsSpamFile } from '../../src/data/sms-spam.ts'
import { put, temporaryFolder } from './files.ts'

const real = process.env.SOTTO_DATA ? false : 'SOTTO_DATA is not set'

async function nothing() {
  return { environment: { XDG_CACHE_HOME: await temporaryFolder() }, mirrors: [] }
}

describe('parseLabelledMessages', () => {
  test('reads label, tab, text; the text may hold tabs, the lines may end as on Windows', () => {
    expect(parseLabelledMessages('ham\tsee you\nspam\tWIN\tNOW £5\r\nham\tbye')).toEqual([
      { label: 'ham', text: 'see you' },
      { label: 'spam', text: 'WIN\tNOW £5' },
      { label: 'ham', text: 'bye' },
    ])
    expect(parseLabelledMessages('')).toEqual([])
  })

  test.each([
    ['a label of neither kind', 'ham\ta\neggs\tb', 'line 2 expected "ham" or "spam"'],
    ['a line without a tab', 'ham', 'line 1 expected "ham" or "spam" and a tab'],
    ['a blank line', 'ham\ta\n\nham\tb', 'line 2'],
    ['no text', 'ham\t', 'line 1 expected a text'],
  ])('refuses %s by the number of its line', (_, text, message) => {
    expect(() => parseLabelledMessages(text)).toThrow(
      expect.objectContaining({ code: 'ERR_DATA_FORMAT', message: expect.stringContaining(message) }),
    )
  })

  test('never shows a message in an error', () => {
    expect(() => parseLabelledMessages('a private message')).not.toThrow('private')
  })
})

describe('loadSmsSpam', () => {
  test('with neither data nor network says so in one line and goes on with made-up messages', async () => {
    const notices: string[] = []
    const { messages, source } = await loadSmsSpam({ onNotice: (line) => notices.push(line) }, await nothing())
    expect(source).toBe('synthetic')
    expect(messages).toHaveLength(1_200)
    expect(notices).toEqual([expect.stringMatching(/^sotto: the SMS Spam Collection .*made-up messages[^\n]*$/)])
  })

  test('throws when it may not take the synthetic set', async () => {
    const loading = loadSmsSpam({ synthetic: 'never' }, await nothing())
    await expect(loading).rejects.toEqual(expect.objectContaining({ code: 'ERR_DATA_MISSING' }))
  })

  test('a damaged file is an error that names it', async () => {
    const own = await temporaryFolder()
    await put(join(own, smsSpamFile.path), Buffer.from('ham\thello\n'))
    const loading = loadSmsSpam({}, { environment: { SOTTO_DATA: own }, mirrors: [] })
    await expect(loading).rejects.toEqual(expect.objectContaining({ code: 'ERR_DATA_CHECKSUM' }))
    await expect(loading).rejects.toThrow(join(own, 'sms-spam'))
  })

  test('takes the first messages up to the limit', async () => {
    const options = { synthetic: 'always' } as const
    const { messages } = await loadSmsSpam(options)
    expect((await loadSmsSpam({ ...options, limit: 7 })).messages).toEqual(messages.slice(0, 7))
    await expect(loadSmsSpam({ limit: 0 })).rejects.toThrow(RangeError)
  })

  test.skipIf(real)(`the real collection has 4,827 ham and 747 spam${real ? ` (${real})` : ''}`, async () => {
    const { messages, source } = await loadSmsSpam({ synthetic: 'never' })
    expect(source).toBe('sms-spam')
    expect(messages).toHaveLength(5_574)
    expect(messages.filter(({ label }) => label === 'spam')).toHaveLength(747)
    expect(messages[1]).toEqual({ label: 'ham', text: 'Ok lar... Joking wif u oni...' })
  })
})
