/** Text messages and what they are, and the lines in which they are written down. */
import { sottoError } from '../errors.ts'

/** A text message: wanted (`ham`) or not (`spam`). */
export interface LabelledMessage {
  readonly label: 'ham' | 'spam'
  readonly text: string
}

/**
 * Parses lines of a label, a tab and a text; the text may hold more tabs. The last line may end or not.
 *
 * @throws DataError `ERR_DATA_FORMAT` for a line of another form, named by its number and never by its text
 */
export function parseLabelledMessages(text: string): LabelledMessage[] {
  const lines = text.split(/\r?\n/)
  if (lines.at(-1) === '') lines.pop()
  return lines.map((line, index) => {
    const tab = line.indexOf('\t')
    const label = line.slice(0, Math.max(tab, 0))
    if (label !== 'ham' && label !== 'spam') {
      throw sottoError(
        'ERR_DATA_FORMAT',
        `messages: line ${index + 1} expected "ham" or "spam" and a tab at its start`,
        {
          line: index + 1,
        },
      )
    }
    if (tab === line.length - 1) {
      throw sottoError('ERR_DATA_FORMAT', `messages: line ${index + 1} expected a text after the tab`, {
        line: index + 1,
      })
    }
    return { label, text: line.slice(tab + 1) }
  })
}
