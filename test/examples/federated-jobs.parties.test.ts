/** The example of compiled jobs: processes of a server, a scheduler and trainers. */
import { beforeAll, describe, expect, it } from 'vitest'
import { runJobs } from '../../examples/federated-jobs/run.ts'
import { capturePrinted } from './printed.ts'

let printed: () => string
beforeAll(() => {
  printed = capturePrinted()
})

describe('federated-jobs', () => {
  it('learns among processes, and shows the server no update', async () => {
    const options = { trainers: 2, rounds: 3, limit: 400, testLimit: 200, seed: 1 } as const
    const { accuracy, bytesUp, rounds } = await runJobs({ ...options, aggregation: 'masks' })
    expect(rounds.map(({ contributors }) => contributors)).toEqual(Array(3).fill(['trainer-1', 'trainer-2']))
    // Guessing gets a tenth of them.
    expect(accuracy).toBeGreaterThan(0.4)
    // 7850 weights and a count, in words of 32 bits, and what keys and shares take besides.
    expect(bytesUp).toBeGreaterThan(4 * 7851)
    expect(bytesUp).toBeLessThan(4 * 7851 + 2000)
    const rows = printed()
      .split('\n')
      .filter((line) => line.startsWith('server') && line.includes('│'))
      .map((line) => line.split('│').map((cell) => cell.trim()))
    const saw = rows.filter(([, who]) => who === 'server').map(([, , what, of]) => [what, of])
    expect(saw.sort()).toEqual([
      ['nothing of float32 [7850]', 'trainer-1'],
      ['nothing of float32 [7850]', 'trainer-2'],
    ])
  })
})
