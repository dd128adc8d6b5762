import { describe, expect, it } from 'vitest'
import { chartSvg, type Panel } from '../../examples/lib/plot.ts'

const panel = (points: readonly (readonly [number, number])[], more: Partial<Panel> = {}): Panel => ({
  title: 'loss',
  series: [{ name: 'loss', points }],
  ...more,
})
const chart = (...panels: Panel[]): string => chartSvg({ title: 'A chart', x: 'epoch', panels })

/** Of the first panel: the text of each tick, and where it is. */
function ticksOf(svg: string): { x: Map<number, number>; y: Map<number, number> } {
  const [first] = svg.split('</g>')
  const texts = [...first!.matchAll(/<text class="ink (end|middle)" x="([\d.]+)" y="([\d.]+)">(-?[\d.]+)<\/text>/g)]
  const of = (kind: string, group: number, shift: number) =>
    new Map(texts.filter((match) => match[1] === kind).map((match) => [Number(match[4]), Number(match[group]) - shift]))
  // Text stands a little below the middle of its line.
  return { x: of('middle', 2, 0), y: of('end', 3, 4) }
}
const linesOf = (svg: string): [number, number][][] =>
  [...svg.matchAll(/<path class="line [^>]* d="([^"]*)"/g)].map((match) =>
    [...match[1]!.matchAll(/[ML]([\d.-]+) ([\d.-]+)/g)].map((corner) => [Number(corner[1]), Number(corner[2])]),
  )

describe('a chart', () => {
  it('draws each point where its axes say it is', () => {
    const points = [
      [1, 0.6],
      [2, 0.2],
      [3, 0.4],
      [4, 0],
    ] as const
    const svg = chart(panel(points))
    const { x, y } = ticksOf(svg)
    expect([...x.keys()]).toEqual([1, 2, 3, 4])
    expect([...y.keys()]).toEqual([0, 0.2, 0.4, 0.6])
    const [line] = linesOf(svg)
    expect(line).toHaveLength(points.length)
    for (const [i, [at, value]] of points.entries()) {
      // Places are rounded to a tenth of a pixel.
      expect(line![i]![0]).toBeCloseTo(x.get(at)!, 0)
      expect(line![i]![1]).toBeCloseTo(y.get(value)!, 0)
    }
  })

  it('has round ticks around its values, and reaches what it is told to reach', () => {
    expect([
      ...ticksOf(
        chart(
          panel([
            [1, 97.1],
            [15, 98.3],
          ]),
        ),
      ).y.keys(),
    ]).toEqual([97, 97.5, 98, 98.5])
    expect([
      ...ticksOf(
        chart(
          panel(
            [
              [1, 0.31],
              [15, 0.9],
            ],
            { include: [0] },
          ),
        ),
      ).y.keys(),
    ]).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1])
    expect([
      ...ticksOf(
        chart(
          panel([
            [1, -3],
            [200, 4000],
          ]),
        ),
      ).x.keys(),
    ]).toEqual([50, 100, 150, 200])
  })

  it('draws what there is of nothing, of one point, of equal points, and of what is no number', () => {
    expect(chart()).toContain('</svg>')
    expect(linesOf(chart(panel([])))).toEqual([[]])
    for (const points of [
      [[3, 5]],
      [
        [1, 0],
        [2, 0],
      ],
      [
        [1, Number.NaN],
        [2, 7],
        [3, Number.POSITIVE_INFINITY],
      ],
    ] as const) {
      const svg = chart(panel(points))
      expect(svg).not.toMatch(/NaN|Infinity/)
      expect(linesOf(svg)[0]).toHaveLength(points.filter(([, value]) => Number.isFinite(value)).length)
    }
  })

  it('tells series apart without colours, and names them where there are several', () => {
    const series = ['one', 'two', 'three'].map((name, i) => ({ name, points: [[1, i] as const, [2, i + 1] as const] }))
    const svg = chart({ title: 'accuracy', series })
    const styles = [...svg.matchAll(/<path class="line s\d"( stroke-dasharray="[^"]*")? d/g)].map((match) => match[1])
    // Each once in the panel and once in the legend.
    expect(styles).toHaveLength(6)
    expect(new Set(styles).size).toBe(3)
    for (const { name } of series) expect(svg).toContain(`>${name}</text>`)
    expect(chart(panel([[1, 2]]))).not.toContain('>two</text>')
  })

  it('is well-formed, has words for who does not see it, and a dark side', () => {
    const svg = chartSvg({
      title: 'a < b & "c"',
      x: 'epoch',
      panels: [
        panel([
          [1, 0.5391],
          [15, 0.0459],
        ]),
      ],
    })
    expect(svg).toContain('role="img" aria-labelledby="title description"')
    expect(svg).toContain('<title id="title">a &lt; b &amp; &quot;c&quot;</title>')
    expect(svg).toContain('<desc id="description">loss: 0.5391 at 1, 0.0459 at 15.</desc>')
    expect(svg).toContain('@media (prefers-color-scheme:dark)')
    const open: string[] = []
    for (const [, end, name, empty] of svg.matchAll(/<(\/?)(\w+)[^<>]*?(\/?)>/g)) {
      if (end) expect(open.pop()).toBe(name)
      else if (!empty) open.push(name!)
    }
    expect(open).toEqual([])
  })
})
