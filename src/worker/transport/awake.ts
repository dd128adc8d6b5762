/**
 * Timers that do not hold it against others that this end was busy.
 *
 * Whoever computes reads nothing meanwhile. When it is done, its timers are long over, and what was to come in time lies
 * unread: a timer that simply ran would take for lost who answered at once.
 */

/** Looks at the clock so many times at least. */
const LOOKS = 8
/** Milliseconds between two looks, at most. */
const LONGEST = 1000

/**
 * Calls back after so many milliseconds in which this end was not busy; however long it was at one stretch, that counts
 * for an eighth of them, or a second if that is less.
 *
 * @param isHeld whether a process stays alive for it
 * @returns calls it off
 */
export function afterAwake(milliseconds: number, action: () => void, { isHeld = true } = {}): () => void {
  const step = Math.min(Math.ceil(milliseconds / LOOKS), LONGEST)
  let left = milliseconds
  const after = (time: number, then: () => void) => (isHeld ? setTimeout(then, time) : unheld(setTimeout(then, time)))
  const look = () => {
    left -= step
    timer = left > step / 2 ? after(step, look) : after(0, action)
  }
  let timer = after(step, look)
  return () => clearTimeout(timer)
}

/** A timer that does not keep a process from ending. */
export function unheld<T>(timer: T): T {
  ;(timer as { unref?: () => void }).unref?.()
  return timer
}
