/**
 * Drawn digits: a stand-in for MNIST where that is not to be had. Strokes of a small vector font of our own, moved,
 * turned, slanted, scaled and bent at random, drawn with a round pen of random width. They follow from a seed.
 */
import { sottoError } from '../errors.ts'
import { LabelledImages } from './labelled-images.ts'
import { SeededRandom } from './random.ts'

/** A point of the font: x to the right, y down, the digit's height from −1 to 1. */
type Point = readonly [x: number, y: number]
/** A line from point to point without lifting the pen. */
type Stroke = readonly Point[]
type Glyph = readonly Stroke[]

const size = 28
const area = size * size
/** As in MNIST, a digit is about 20 pixels high in the middle of its 28. */
const pixelsPerUnit = 9.3

/** An arc of an ellipse; degrees, from 0 at the right, growing clockwise because y points down. */
function arc(cx: number, cy: number, rx: number, ry: number, from: number, to: number): Point[] {
  // One chord for each 20°: off the circle by 1.5 % of the radius, less than a tenth of a pixel.
  const chords = Math.ceil(Math.abs(to - from) / 20)
  return Array.from({ length: chords + 1 }, (_, i): Point => {
    const angle = ((from + ((to - from) * i) / chords) * Math.PI) / 180
    return [cx + rx * Math.cos(angle), cy + ry * Math.sin(angle)]
  })
}

/** For each digit the ways people write it. */
const font: readonly (readonly Glyph[])[] = [
  [[arc(0, 0, 0.62, 1, -90, 270)], [arc(0, 0, 0.48, 1, -90, 270)]],
  [
    [
      [
        [0, -1],
        [0, 1],
      ],
    ], // a bare stroke
    [
      [
        [-0.35, -0.62],
        [0.05, -1],
        [0.05, 1],
      ],
    ], // with a flag
    [
      [
        [-0.35, -0.62],
        [0.05, -1],
        [0.05, 1],
      ],
      [
        [-0.4, 1],
        [0.45, 1],
      ],
    ], // and a foot
  ],
  [
    [[...arc(0, -0.45, 0.55, 0.55, -170, 40), [-0.6, 1], [0.65, 1]]],
    [[...arc(0, -0.45, 0.55, 0.55, -170, 50), ...arc(-0.4, 0.8, 0.25, 0.2, 60, 330), [0.65, 1]]], // with a loop
  ],
  [
    [[...arc(0, -0.5, 0.5, 0.5, -160, 80), ...arc(0, 0.48, 0.58, 0.52, -80, 155)]],
    [[[-0.5, -1], [0.5, -1], [-0.05, -0.15], ...arc(-0.02, 0.42, 0.58, 0.57, -80, 155)]], // with a flat top
  ],
  [
    [
      [
        [-0.3, -1],
        [-0.6, 0.2],
        [0.6, 0.2],
      ],
      [
        [0.3, -0.5],
        [0.2, 1],
      ],
    ], // open
    [
      [
        [0.3, 1],
        [0.3, -1],
        [-0.62, 0.35],
        [0.68, 0.35],
      ],
    ], // closed
  ],
  [[[[0.55, -1], [-0.4, -1], [-0.48, -0.1], ...arc(-0.02, 0.4, 0.58, 0.6, -135, 150)]]],
  [[[...arc(0.45, 0.3, 1, 1.3, -95, -180), ...arc(0, 0.45, 0.55, 0.54, 180, -180)]]],
  [
    [
      [
        [-0.6, -1],
        [0.6, -1],
        [-0.15, 1],
      ],
    ],
    [
      [
        [-0.6, -1],
        [0.6, -1],
        [-0.15, 1],
      ],
      [
        [-0.25, 0.05],
        [0.5, 0.05],
      ],
    ], // with a bar
  ],
  [[arc(0, -0.5, 0.45, 0.5, -90, 270), arc(0, 0.5, 0.57, 0.5, -90, 270)]],
  [
    [[...arc(0, -0.45, 0.52, 0.54, 0, -360), [0.5, 0.2], [0.35, 1]]],
    [[...arc(0, -0.45, 0.52, 0.54, 0, -360), ...arc(-0.05, 0.35, 0.56, 0.62, -10, 140)]], // with a hook
  ],
]

/**
 * Draws digits, each as likely as any other.
 *
 * @param count at least 1; the first ones are the same whatever the count
 * @param seed from 0 to 2^53 − 1
 * @throws ValueError `ERR_ARGUMENT_VALUE` for a count or seed out of range
 */
export function drawnDigits(count: number, seed: number): LabelledImages {
  if (!Number.isSafeInteger(count) || count < 1) {
    throw sottoError('ERR_ARGUMENT_VALUE', `"count" expected an integer of at least 1, got ${count}`, { count })
  }
  const random = new SeededRandom(seed)
  const pixels = new Uint8Array(count * area)
  const labels = new Uint8Array(count)
  for (let i = 0; i < count; i++) {
    const digit = random.int(font.length)
    labels[i] = digit
    draw(random, random.pick(font[digit]!), pixels.subarray(i * area, (i + 1) * area))
  }
  return new LabelledImages(pixels, labels)
}

/** Draws one glyph into an image of zeros. */
function draw(random: SeededRandom, glyph: Glyph, image: Uint8Array): void {
  const place = placement(random)
  const radius = random.between(0.8, 1.7)
  const ink = new Float32Array(area)
  for (const stroke of glyph) {
    const points = stroke.map(place)
    for (let i = 1; i < points.length; i++) drawLine(ink, points[i - 1]!, points[i]!, radius)
  }

  const pressure = random.between(0.8, 1)
  for (let i = 0; i < area; i++) {
    // Grain in the ink, and a rare speck on the paper.
    const speck = random.float() < 0.01 ? random.between(0, 0.3) : 0
    const value = ink[i]! * (pressure + 0.06 * random.normal()) + speck
    image[i] = Math.max(0, Math.min(255, Math.round(255 * value)))
  }
}

/** A random map from the font's units to pixels: bend, slant, scale, turn and shift. */
function placement(random: SeededRandom): (point: Point) => Point {
  const turn = random.normal() * 0.13 // radians; 7°
  const slant = random.normal() * 0.15
  const scaleX = pixelsPerUnit * random.between(0.8, 1.1)
  const scaleY = pixelsPerUnit * random.between(0.85, 1.08)
  const shiftX = size / 2 - 0.5 + random.normal() * 0.9
  const shiftY = size / 2 - 0.5 + random.normal() * 0.9
  const bend = random.normal() * 0.06
  const phase = random.between(0, 2 * Math.PI)
  const [cos, sin] = [Math.cos(turn), Math.sin(turn)]
  return ([x, y]) => {
    const bentX = (x + bend * Math.sin(3 * y + phase) - slant * y + 0.02 * random.normal()) * scaleX
    const bentY = (y + bend * Math.sin(3 * x + phase) + 0.02 * random.normal()) * scaleY
    return [shiftX + cos * bentX - sin * bentY, shiftY + sin * bentX + cos * bentY]
  }
}

/** Adds a line with round ends; a pixel at the edge gets as much ink as the pen covers of it, about. */
function drawLine(ink: Float32Array, [ax, ay]: Point, [bx, by]: Point, radius: number): void {
  const reach = radius + 1
  const [left, right] = span(ax, bx, reach)
  const [top, bottom] = span(ay, by, reach)
  const [dx, dy] = [bx - ax, by - ay]
  const squaredLength = dx * dx + dy * dy
  for (let y = top; y <= bottom; y++) {
    for (let x = left; x <= right; x++) {
      // The nearest point of the line, as a share of the way from a to b; two points may fall together.
      const along = squaredLength === 0 ? 0 : ((x - ax) * dx + (y - ay) * dy) / squaredLength
      const share = Math.max(0, Math.min(1, along))
      const distance = Math.hypot(x - ax - share * dx, y - ay - share * dy)
      const covered = Math.max(0, Math.min(1, radius + 0.5 - distance))
      const at = y * size + x
      if (covered > ink[at]!) ink[at] = covered
    }
  }
}

/** The rows or columns of the image that a line may touch. */
function span(a: number, b: number, reach: number): [first: number, last: number] {
  return [Math.max(0, Math.floor(Math.min(a, b) - reach)), Math.min(size - 1, Math.ceil(Math.max(a, b) + reach))]
}
