/**
 * The SMS Spam Collection v.1: 5,574 text messages, 747 of them spam (T. A. Almeida, J. M. Gómez Hidalgo, A. Yamakami,
 * "Contributions to the study of SMS spam filtering", DocEng 2011; CC BY 4.0), or made-up ones where it is not to be had.
 */
import { sottoError } from '../errors.ts'
import { type LabelledMessage, parseLabelledMessages } from './labelled-messages.ts'
import { checkLimit, type LoadOptions, realOrSynthetic } from './load.ts'
import { type DataFile, readDataFile, type SourceOptions } from './source.ts'
import { madeUpMessages } from './synthetic-messages.ts'

export { type LabelledMessage, parseLabelledMessages } from './labelled-messages.ts'

export interface SmsSpamOptions extends LoadOptions {
  /** At most so many messages, the first of the set. Default: all. */
  readonly limit?: number
}

export interface SmsSpam {
  readonly messages: readonly LabelledMessage[]
  /** Where the messages come from: people, or a stand-in. */
  readonly source: 'sms-spam' | 'synthetic'
}

/** Both mirrors serve the archive of the UCI repository; the second is the backup of a textbook's readers. */
const archives = [
  'https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip',
  'https://f001.backblazeb2.com/file/LLMs-from-scratch/sms%2Bspam%2Bcollection.zip',
]

export const smsSpamFile: DataFile = {
  path: 'sms-spam/SMSSpamCollection',
  size: 477_907,
  sha256: '7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d',
  mirrors: archives.map((url) => ({ url, form: { zipMember: 'SMSSpamCollection' } })),
}

/** What the collection's own readme declares. */
const published = { ham: 4_827, spam: 747 } as const

const madeUp = { count: 1_200, seed: 3 } as const

/**
 * Loads the SMS Spam Collection from the folder `SOTTO_DATA`, the user's cache or a public mirror; where it is not to
 * be had, made-up messages in its place (1,200, about 13 % spam), and says so through `onNotice`.
 *
 * @returns the messages in the order of the file, in which ham and spam are mixed
 * @throws DataError `ERR_DATA_MISSING` when it is not to be had and `synthetic` is `never`, `ERR_DATA_CHECKSUM` when the
 * file in `SOTTO_DATA` differs from the published one; ValueError `ERR_ARGUMENT_VALUE` for an option out of range
 */
export async function loadSmsSpam(
  options: SmsSpamOptions = {},
  /** @internal */ sourceOptions: SourceOptions = {},
): Promise<SmsSpam> {
  const limit = checkLimit('limit', options.limit)
  const source = { signal: options.signal, onNotice: options.onNotice ?? console.error, ...sourceOptions }

  return realOrSynthetic<SmsSpam, SmsSpam>(options, {
    real: async () => ({
      messages: parseCollection(await readDataFile(smsSpamFile, source)).slice(0, limit),
      source: 'sms-spam',
    }),
    synthetic: () => ({ messages: madeUpMessages(Math.min(limit, madeUp.count), madeUp.seed), source: 'synthetic' }),
    notice:
      'sotto: the SMS Spam Collection is neither in SOTTO_DATA nor in the cache, and no mirror gave it; going on with made-up messages instead',
  })
}

function parseCollection(bytes: Uint8Array): LabelledMessage[] {
  const messages = parseLabelledMessages(decodeUtf8(bytes))
  const ham = messages.filter(({ label }) => label === 'ham').length
  const spam = messages.length - ham
  if (ham !== published.ham || spam !== published.spam) {
    throw sottoError(
      'ERR_DATA_FORMAT',
      `${smsSpamFile.path}: expected ${published.ham} ham and ${published.spam} spam, got ${ham} and ${spam}`,
      { ham, spam },
    )
  }
  return messages
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw sottoError('ERR_DATA_FORMAT', `${smsSpamFile.path}: expected UTF-8`, {}, error)
  }
}
