import Table from 'cli-table3'
import { expect, it } from 'vitest'
import { drawTable } from '../../src/worker/table.ts'

it('draws what cli-table3 draws without rules between rows, wide letters and all', () => {
  const rows = [
    ['who', 'saw', 'times'],
    ['me', 'float32 [3], #données', 3],
    ['中文 한국어', 'é as two: e\u0301', 1234],
    ['', '🙂', ''],
  ]
  const [head, ...body] = rows
  const table = new Table({
    head: head!.map(String),
    style: { head: [], border: [] },
    chars: { mid: '', 'left-mid': '', 'mid-mid': '', 'right-mid': '' },
    colAligns: ['left', 'left', 'right'],
  })
  table.push(...body)
  expect(drawTable(rows, ['left', 'left', 'right'])).toBe(table.toString())
})

it('keeps to one line, whatever a name does to a terminal', () => {
  expect(drawTable([['a\nb\u001b[2J'], ['x']])).toBe('┌─────────┐\n│ a b [2J │\n│ x       │\n└─────────┘')
})
