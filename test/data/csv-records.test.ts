import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readCsvRecords } from '../../src/data/csv-records.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'csv-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

async function read(content: string | Uint8Array, columns: readonly string[], name = 'a.csv') {
  const path = join(folder, name)
  writeFileSync(path, content)
  const cells: string[][] = []
  const raws: string[] = []
  const onRecord = (record: readonly string[], raw: () => string) => {
    cells.push([...record])
    raws.push(raw())
  }
  return { ...(await readCsvRecords(path, { columns, onRecord })), cells, raws }
}

describe('records of a CSV file', () => {
  it('have the cells of the columns asked for, in their order, whatever ends a line', async () => {
    for (const end of ['\n', '\r\n', '\r']) {
      for (const last of ['', end]) {
        const text = `id,name,city${end}1,Ada,"Lon,don"${end}2,"A ""quoted"" one",${end}3,"two${end}lines",x${last}`
        const { header, records, cells, raws } = await read(text, ['city', 'name'])
        expect([header, records]).toEqual(['id,name,city', 3])
        expect(cells).toEqual([
          ['Lon,don', 'Ada'],
          ['', 'A "quoted" one'],
          ['x', `two${end}lines`],
        ])
        expect(raws[0]).toBe('1,Ada,"Lon,don"')
      }
    }
  })

  it('may be gzipped, begin with the mark of the byte order, and be none', async () => {
    expect((await read(gzipSync('\ufeffa\n1\n'), ['a'], 'b.csv.gz')).cells).toEqual([['1']])
    expect((await read('\ufeff a ,b', ['a'])).records).toBe(0)
    expect((await read('a\n\n"x"\n', ['a'])).cells).toEqual([[''], ['x']])
  })

  it('are the same wherever a piece of the file ends', async () => {
    // Three megabytes: the pieces end inside cells, quotes and ends of lines.
    const lines = Array.from({ length: 60_000 }, (_, i) => `${i},"é""${i},\n"," ${'x'.repeat(i % 41)}"`)
    const { cells } = await read(`n,q,x\r\n${lines.join('\r\n')}\r\n`, ['n', 'q'])
    expect(cells.length).toBe(60_000)
    expect(cells.every(([n, q], i) => n === `${i}` && q === `é"${i},\n`)).toBe(true)
  })

  it.each([
    ['a column that is not there', 'a,b\n1,2', ['c'], 1],
    ['a column that is there twice', 'a,a\n1,2', ['a'], 1],
    ['nothing', '', ['a'], 1],
    ['a line that is short', 'a,b\n1,2\n3\n', ['a'], 3],
    ['a line that is long', 'a,b\n"1\n",2\n3,4,5', ['a'], 4],
    ['a quote that is never closed', 'a\n"x\n', ['a'], 2],
    ['a quote inside a cell', 'a\nx"y"\n', ['a'], 2],
    ['text behind a quote', 'a\n"x"y\n', ['a'], 2],
  ])('are refused with the line, for %s', async (_, text, columns, line) => {
    await expect(read(text, columns)).rejects.toMatchObject({ code: 'ERR_DATA_FORMAT', details: { line } })
  })

  it('are refused where the file is no UTF-8, no gzip file, or not there', async () => {
    await expect(read(Uint8Array.of(97, 10, 0xff), ['a'])).rejects.toMatchObject({ code: 'ERR_DATA_FORMAT' })
    await expect(read('a\n1', ['a'], 'c.csv.gz')).rejects.toMatchObject({ code: 'ERR_DATA_FORMAT' })
    const missing = readCsvRecords(join(folder, 'none.csv'), { columns: ['a'], onRecord: () => {} })
    await expect(missing).rejects.toMatchObject({ code: 'ERR_DATA_MISSING' })
  })
})
