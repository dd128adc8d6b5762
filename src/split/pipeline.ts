/**
 * In which order the parts of a split network's work are issued to its workers.
 *
 * What is trained on at a time (a batch, or a micro-batch) goes along a path of visits: forward through the stages, then
 * backward through them. Each worker carries out what it is told in the order in which it is told, so this order decides
 * what waits for what. A visit may lag behind the first one by so many units: then the units in between fill the time
 * that others take to travel. With the lags below, the last stage alternates one forward with one backward, and every
 * stage before it has as many units under way as its distance asks for: 1F1B (Narayanan et al., PipeDream, SOSP '19,
 * §3.2), with a warm-up as deep as the window.
 */

/** What is done with a unit at one place of its path. */
export type Visit<Unit> = (unit: Unit) => void

/**
 * How many units each visit is behind the first.
 *
 * The lag grows by an equal part of the window wherever the path comes back to a worker that it has left: what comes back
 * there has been to others in between. A window of 0 takes one unit after the other.
 *
 * @param path of each visit, the workers that it is made to
 * @param window units that may be under way behind the first
 */
export function lagsOf(path: readonly (readonly unknown[])[], window: number): number[] {
  const seen = new Set<unknown>()
  let returns = 0
  const counts = path.map((workers, i) => {
    const before = path[i - 1] ?? []
    if (workers.some((worker) => seen.has(worker) && !before.includes(worker))) returns++
    for (const worker of workers) seen.add(worker)
    return returns
  })
  return counts.map((count) => (returns === 0 ? 0 : Math.round((window * count) / returns)))
}

/** Takes units along a path of visits. */
export class Pipeline<Unit> {
  readonly #visits: readonly Visit<Unit>[]
  readonly #lags: readonly number[]
  /** Units that have not made their last visit, oldest first; the first is number `#done`. */
  readonly #underWay: Unit[] = []
  #done = 0
  #tick = 0

  constructor(visits: readonly Visit<Unit>[], lags: readonly number[]) {
    this.#visits = visits
    this.#lags = lags
  }

  get size(): number {
    return this.#underWay.length
  }

  /** Starts with a unit, and goes on with those before it as far as it is their turn. */
  push(unit: Unit): void {
    this.#underWay.push(unit)
    this.#turn()
  }

  /** Takes all to their end. */
  drain(): void {
    while (this.#underWay.length > 0) this.#turn()
  }

  /** Gives up what is under way. */
  abandon(): Unit[] {
    this.#done += this.#underWay.length
    this.#tick = this.#done
    return this.#underWay.splice(0)
  }

  #turn(): void {
    const now = this.#tick++
    this.#visits.forEach((visit, i) => {
      const unit = this.#underWay[now - this.#lags[i]! - this.#done]
      if (unit !== undefined) visit(unit)
    })
    // The last visit has the largest lag.
    if (now - this.#lags.at(-1)! === this.#done) {
      this.#underWay.shift()
      this.#done++
    }
    if (this.#underWay.length === 0) this.#tick = this.#done
  }
}
