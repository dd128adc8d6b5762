/**
 * Line charts as SVG: panels side by side, each with axes, ticks and a line for each series.
 *
 * One file is readable on light and on dark pages: it follows the reader's colour scheme where the viewer knows it, and
 * brings its background along. Lines differ in colour, dashes and markers, so that colours alone tell nothing.
 */

export interface Series {
  /** Stands in the legend, where there are several. */
  readonly name: string
  /** From left to right; what is no finite number is left out. */
  readonly points: readonly (readonly [x: number, y: number])[]
}

export interface Panel {
  /** What the lines show, with its unit. */
  readonly title: string
  readonly series: readonly Series[]
  /** Values that the vertical axis reaches at least, such as 0. */
  readonly include?: readonly number[]
}

export interface Chart {
  /** One line: some 45 characters for each panel. */
  readonly title: string
  /** What the horizontal axis of every panel counts. */
  readonly x: string
  readonly panels: readonly Panel[]
}

/** Of one panel, in pixels. */
const WIDTH = 400
const HEIGHT = 300
const MARGIN = { top: 34, right: 20, bottom: 46, left: 58 } as const
/** Above the panels: the title; below them: the legend. */
const HEAD = 40
const LEGEND = 26
/** Width of a letter of the legend, near enough. */
const LETTER = 7
/** Ticks of an axis, about. */
const TICKS = 5
/** Points of a line above which they get no markers. */
const MARKED = 40

/** Okabe and Ito's colours, which people tell apart whose eyes differ; brighter ones on dark. */
const light = ['#0072b2', '#d55e00', '#007a5a', '#b0488c', '#8a6d00', '#444444'] as const
const dark = ['#56b4e9', '#ff9a4d', '#2fcf9f', '#e88fc4', '#e6c229', '#cccccc'] as const
const dashes = ['', '7 4', '2 3', '10 3 2 3', '5 2', '1 3'] as const

const rulesOf = (colours: readonly string[], ink: string, faint: string, page: string): string =>
  [
    `.page{fill:${page}}`,
    `.ink{fill:${ink}}`,
    `.axis{stroke:${ink}}`,
    `.grid{stroke:${faint}}`,
    ...colours.map((colour, i) => `.s${i}{stroke:${colour}}.m${i}{fill:${colour}}`),
  ].join('')

const STYLE = [
  'text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}',
  '.title{font-size:15px;font-weight:600}.name{font-weight:600}.end{text-anchor:end}.middle{text-anchor:middle}',
  '.line{fill:none;stroke-width:2;stroke-linejoin:round}',
  rulesOf(light, '#24292f', '#d8dee4', '#ffffff'),
  `@media (prefers-color-scheme:dark){${rulesOf(dark, '#e6edf3', '#3b434c', '#0d1117')}}`,
].join('')

/** The chart as the text of an SVG file. */
export function chartSvg({ title, x, panels: given }: Chart): string {
  const panels = given.map(drawn)
  const names = [...new Set(panels.flatMap(({ series }) => series.map(({ name }) => name)))]
  const hasLegend = panels.some(({ series }) => series.length > 1)
  const width = WIDTH * panels.length
  const height = HEAD + HEIGHT + (hasLegend ? LEGEND : 0)
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-labelledby="title description">`,
    `<title id="title">${escaped(title)}</title>`,
    `<desc id="description">${escaped(panels.map(told).join(' '))}</desc>`,
    `<style>${STYLE}</style>`,
    `<rect class="page" width="${width}" height="${height}"/>`,
    text(width / 2, 26, title, 'title middle'),
    ...panels.map((panel, i) => `<g transform="translate(${i * WIDTH} ${HEAD})">${panelSvg(panel, x, names)}</g>`),
    ...(hasLegend ? [legendSvg(names, width, HEAD + HEIGHT + 10)] : []),
    '</svg>\n',
  ].join('\n')
}

/** A panel without what cannot be drawn. */
const drawn = (panel: Panel): Panel => ({
  ...panel,
  series: panel.series.map((each) => ({
    ...each,
    points: each.points.filter((point) => point.every(Number.isFinite)),
  })),
})

function panelSvg({ title, series, include = [] }: Panel, x: string, names: readonly string[]): string {
  const points = series.flatMap((each) => each.points)
  const across = axisOf(
    points.map(([at]) => at),
    points.every(([at]) => Number.isInteger(at)),
  )
  const up = axisOf([...include, ...points.map(([, value]) => value)])
  const [left, right] = [MARGIN.left, WIDTH - MARGIN.right]
  const [top, bottom] = [MARGIN.top, HEIGHT - MARGIN.bottom]
  // Points do not sit on the axes.
  const atX = (value: number) => scaled(value, across, left + 12, right - 12)
  const atY = (value: number) => scaled(value, up, bottom, top)
  return [
    text(left, top - 14, title, 'name'),
    ...up.ticks.flatMap((value) => [
      `<path class="grid" d="M${left} ${round(atY(value))}H${right}"/>`,
      text(left - 8, atY(value) + 4, shown(value, up.step), 'end'),
    ]),
    `<path class="axis" d="M${left} ${bottom}H${right}"/>`,
    ...across.ticks.flatMap((value) => [
      `<path class="axis" d="M${round(atX(value))} ${bottom}v5"/>`,
      text(atX(value), bottom + 19, shown(value, across.step), 'middle'),
    ]),
    text((left + right) / 2, bottom + 38, x, 'middle'),
    ...series.map((each) => {
      const corners = each.points.map(([at, value]) => [atX(at), atY(value)] as const)
      return lineSvg(corners, names.indexOf(each.name))
    }),
  ].join('')
}

function lineSvg(corners: readonly (readonly [number, number])[], number: number): string {
  const path = corners.map(([x, y], i) => `${i === 0 ? 'M' : 'L'}${round(x)} ${round(y)}`).join('')
  const markers = corners.length > MARKED ? [] : corners.map(([x, y]) => markerSvg(x, y, number))
  return [`<path class="line s${number % light.length}"${dashOf(number)} d="${path}"/>`, ...markers].join('')
}

/** A circle, a square or a diamond. */
function markerSvg(x: number, y: number, number: number): string {
  const colour = `m${number % light.length}`
  if (number % 3 === 0) return `<circle class="${colour}" cx="${round(x)}" cy="${round(y)}" r="3"/>`
  const turn = number % 3 === 2 ? ` transform="rotate(45 ${round(x)} ${round(y)})"` : ''
  return `<rect class="${colour}" x="${round(x - 3)}" y="${round(y - 3)}" width="6" height="6"${turn}/>`
}

const dashOf = (number: number): string => {
  const dash = dashes[number % dashes.length]!
  return dash === '' ? '' : ` stroke-dasharray="${dash}"`
}

function legendSvg(names: readonly string[], width: number, y: number): string {
  const widths = names.map((name) => 54 + LETTER * name.length)
  let at = (width - widths.reduce((sum, each) => sum + each, 0)) / 2
  const items = names.map((name, i) => {
    const line = lineSvg([[at, y] as const, [at + 26, y] as const], i)
    const item = `${line}${text(at + 33, y + 4, name)}`
    at += widths[i]!
    return item
  })
  return items.join('')
}

interface Axis {
  readonly from: number
  readonly to: number
  readonly step: number
  readonly ticks: readonly number[]
}

/** From a round number to a round number around all values, in steps of 1, 2 or 5 times a power of ten. */
function axisOf(values: readonly number[], isWhole = false): Axis {
  const low = values.length === 0 ? 0 : Math.min(...values)
  const high = values.length === 0 ? 1 : Math.max(...values)
  const spread = high - low || Math.abs(high) || 1
  const power = 10 ** Math.floor(Math.log10(spread / TICKS))
  const finest = [1, 2, 5, 10].map((factor) => factor * power).find((each) => spread / each <= TICKS)!
  const step = isWhole ? Math.max(1, Math.round(finest)) : finest
  // What is counted begins and ends where it does.
  const [from, to] = isWhole ? [low, high] : [Math.floor(low / step) * step, Math.ceil(high / step) * step]
  const first = Math.ceil(from / step - 1e-9)
  const last = Math.floor(to / step + 1e-9)
  return { from, to, step, ticks: Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step) }
}

const scaled = (value: number, { from, to }: Axis, begin: number, end: number): number =>
  from === to ? (begin + end) / 2 : begin + ((value - from) / (to - from)) * (end - begin)

/** A tick with as many digits as its step needs. */
const shown = (value: number, step: number): string => value.toFixed(Math.max(0, Math.ceil(-Math.log10(step) - 1e-9)))

/** What a panel shows, for who does not see it. */
function told({ title, series }: Panel): string {
  const lines = series.map(({ name, points }) => {
    const [first, last] = [points.at(0), points.at(-1)]
    const values = first && last ? `${short(first[1])} at ${first[0]}, ${short(last[1])} at ${last[0]}` : 'nothing'
    return series.length === 1 ? values : `${name}: ${values}`
  })
  return `${title}: ${lines.join('; ')}.`
}

const short = (value: number): string => String(Number(value.toPrecision(4)))
const round = (value: number): string => String(Math.round(10 * value) / 10)
const text = (x: number, y: number, content: string, kind = ''): string =>
  `<text class="${`ink ${kind}`.trim()}" x="${round(x)}" y="${round(y)}">${escaped(content)}</text>`
const escaped = (content: string): string =>
  content.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
