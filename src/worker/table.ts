/** Tables as text, in a frame of lines. Here and not from a package: a browser draws them too. */

/** Letters of East Asia that take two columns in a terminal (Unicode Standard Annex #11), and emoji. */
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Emoji_Presentation}/u
/** Marks on the letter before them. */
const MARK = /\p{M}/u

const widthOf = (text: string): number =>
  [...text].reduce((sum, letter) => sum + (MARK.test(letter) ? 0 : WIDE.test(letter) ? 2 : 1), 0)

/** A cell on one line: names come from strangers, and what moves the cursor of a terminal is not shown. */
const plain = (cell: string | number): string => String(cell).replaceAll(/\p{Cc}/gu, ' ')

/**
 * Draws a table.
 *
 * @param rows the first may be a head: it looks like any other
 * @param aligns of each column; left unless given
 */
export function drawTable(
  rows: readonly (readonly (string | number)[])[],
  aligns: readonly ('left' | 'right')[] = [],
): string {
  const cells = rows.map((row) => row.map(plain))
  const widths = (cells[0] ?? []).map((_, i) => Math.max(...cells.map((row) => widthOf(row[i] ?? ''))))
  const rule = (left: string, middle: string, right: string) =>
    `${left}${widths.map((width) => '─'.repeat(width + 2)).join(middle)}${right}`
  const line = (row: readonly string[]) => {
    const padded = widths.map((width, i) => {
      const cell = row[i] ?? ''
      const space = ' '.repeat(width - widthOf(cell))
      return aligns[i] === 'right' ? space + cell : cell + space
    })
    return `│ ${padded.join(' │ ')} │`
  }
  return [rule('┌', '┬', '┐'), ...cells.map(line), rule('└', '┴', '┘')].join('\n')
}
