/** Rows of small grey pictures with a text beside each, as one SVG file that needs no other. */
import { crc32, deflateSync } from 'node:zlib'

const SIDE = 28
/** Pixels of the drawing for one of a picture. */
const SCALE = 2
const MARGIN = 10
const TEXT = 250

/** A PNG of grey pixels (W3C PNG, third edition): signature, header, data, end. */
function png(width: number, height: number, pixels: Uint8Array): Buffer {
  const chunk = (type: string, data: Uint8Array): Buffer => {
    const body = Buffer.concat([Buffer.from(type, 'latin1'), data])
    const [length, check] = [Buffer.alloc(4), Buffer.alloc(4)]
    length.writeUInt32BE(data.length)
    check.writeUInt32BE(crc32(body))
    return Buffer.concat([length, body, check])
  }
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width)
  header.writeUInt32BE(height, 4)
  // Eight bits, grey, and the only methods there are.
  header.set([8, 0, 0, 0, 0], 8)
  // Before each row the filter that it went through: none.
  const rows = Buffer.alloc((width + 1) * height)
  for (let row = 0; row < height; row++) {
    rows.set(pixels.subarray(row * width, (row + 1) * width), row * (width + 1) + 1)
  }
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
  return Buffer.concat([
    signature,
    chunk('IHDR', header),
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ])
}

export interface PictureRow {
  readonly title: string
  readonly text: string
  /** Pictures of 28×28 one after another, from 0, paper, to 1, ink. */
  readonly pictures: Float32Array
}

const escaped = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;')

/** The pictures of one row side by side. */
function strip(pictures: Float32Array): { url: string; count: number } {
  const count = pictures.length / SIDE ** 2
  const pixels = new Uint8Array(pictures.length)
  for (const [i, ink] of pictures.entries()) {
    const [picture, row, column] = [Math.floor(i / SIDE ** 2), Math.floor(i / SIDE) % SIDE, i % SIDE]
    pixels[(row * count + picture) * SIDE + column] = Math.round(255 * (1 - Math.min(1, Math.max(0, ink))))
  }
  return { url: `data:image/png;base64,${png(count * SIDE, SIDE, pixels).toString('base64')}`, count }
}

export function pictureRows(title: string, rows: readonly PictureRow[]): string {
  const strips = rows.map(({ pictures }) => strip(pictures))
  const wide = Math.max(...strips.map(({ count }) => count)) * SIDE * SCALE
  const high = SIDE * SCALE + MARGIN
  const [width, height] = [TEXT + wide + 2 * MARGIN, rows.length * high + 3 * MARGIN + 20]
  const lines = rows.map(({ title, text }, i) => {
    const { url, count } = strips[i]!
    const y = 2 * MARGIN + 20 + i * high
    return [
      `<text x="${MARGIN}" y="${y + 24}" font-weight="bold">${escaped(title)}</text>`,
      `<text x="${MARGIN}" y="${y + 42}" fill="#555">${escaped(text)}</text>`,
      `<image x="${TEXT + MARGIN}" y="${y}" width="${count * SIDE * SCALE}" height="${SIDE * SCALE}" style="image-rendering:pixelated" href="${url}"/>`,
    ].join('\n')
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="sans-serif" font-size="13">
<rect width="100%" height="100%" fill="#fff"/>
<text x="${MARGIN}" y="${MARGIN + 16}" font-size="15">${escaped(title)}</text>
${lines.join('\n')}
</svg>
`
}
