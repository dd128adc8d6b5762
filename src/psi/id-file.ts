/** Ids of a CSV file, read as they come: what stays in memory is their fingerprints, 16 bytes each. */
import { readCsvRecords } from '../data/csv-records.ts'
import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { FINGERPRINT, Fingerprints, type IdRule, type IdSet, rules } from './ids.ts'

export interface IdFileOptions {
  /** The columns that are one id together, by their names in the header. */
  readonly columns: readonly string[]
  /** How ids are written alike before they are compared. Default: `text`. */
  readonly rule?: IdRule
  /** Told now and then how many bytes of how many were read. */
  readonly onProgress?: (done: number, total: number) => void
  readonly signal?: AbortSignal
}

/**
 * The ids of a CSV file with a header, gzipped or not. Rows are counted from 0, without the header.
 *
 * @throws DataError `ERR_DATA_MISSING`, `ERR_DATA_FORMAT`; ValueError `ERR_ARGUMENT_VALUE`; SessionError `ERR_ABORTED`
 */
export async function readIds(path: string, options: IdFileOptions): Promise<IdSet> {
  return (await read(path, options)).finish()
}

/** The fingerprints of all rows of a CSV file as a data set of a worker's owner: int32, of shape [rows, 4]. */
export async function readIdRows(
  path: string,
  options: IdFileOptions,
): Promise<{ shape: number[]; dtype: 'int32'; data: Int32Array }> {
  const bytes = (await read(path, options)).finishRows()
  const width = FINGERPRINT / 4
  const data = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  return { shape: [data.length / width, width], dtype: 'int32', data }
}

async function read(path: string, options: IdFileOptions): Promise<Fingerprints> {
  checkOptions('readIds', options, ['columns', 'rule', 'onProgress', 'signal'])
  const { columns, rule = 'text', onProgress, signal } = options
  if (!rules.includes(rule)) {
    throw sottoError('ERR_ARGUMENT_VALUE', `readIds: "rule" expected one of ${rules.join(', ')}`)
  }
  const prints = new Fingerprints(rule, columns.length)
  const isOne = columns.length === 1
  await readCsvRecords(path, {
    columns,
    onProgress,
    signal,
    onRecord: (cells) => prints.add(isOne ? cells[0]! : cells),
  })
  return prints
}
