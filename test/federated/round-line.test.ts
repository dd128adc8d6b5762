import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jsonLines, type RoundResult, roundLine } from 'sotto'
import { describe, expect, it } from 'vitest'

const round: RoundResult = {
  round: 3,
  rounds: 10,
  asked: ['ann', 'ben', 'cat'],
  contributors: ['ann', 'cat'],
  missing: [{ worker: 'ben', code: 'ERR_TIMEOUT', reason: 'it took too long' }],
  failed: null,
  metrics: { accuracy: 0.912345 },
  bytesUp: 401_900,
  ms: 1300,
  epsilon: null,
}

describe('a round', () => {
  it('is told in a line', () => {
    expect(roundLine(round)).toBe('round 3/10: 2 of 3 clients, accuracy 0.9123, 402 kB up each, 1.3 s; missing: ben')
    expect(roundLine({ ...round, failed: 'too few', bytesUp: 0, metrics: {}, epsilon: 2.345 })).toBe(
      'round 3/10: failed: too few, ε 2.35, 1.3 s',
    )
    expect(roundLine({ ...round, missing: [], bytesUp: 999 })).toContain(', 999 B up each,')
    expect(roundLine({ ...round, bytesUp: 12_345_678 })).toContain(', 12.3 MB up each,')
  })

  it('is a line of JSON in a file', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sotto-test-'))
    const write = jsonLines(join(folder, 'metrics.jsonl'))
    for (const epsilon of [1.5, Number.POSITIVE_INFINITY]) await write({ ...round, epsilon })
    const lines = (await readFile(join(folder, 'metrics.jsonl'), 'utf8')).trim().split('\n')
    expect(lines.map((line) => JSON.parse(line))).toEqual([
      { ...round, epsilon: 1.5 },
      { ...round, epsilon: null },
    ])
    await rm(folder, { recursive: true })
  })
})
