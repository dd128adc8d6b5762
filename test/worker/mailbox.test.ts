/** What waits for peers in a session, and for how long, when they are gone. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { sottoError } from '../../src/errors.ts'
import { Mailbox, MailboxCount } from '../../src/worker/mailbox.ts'

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

/** Milliseconds for a peer that was lost to come again. */
const RETURN = 5000
const gone = sottoError('ERR_WORKER_LOST', 'alice is gone')

/** The commands of a session wait, each when the one before it has ended. */
class Commands {
  readonly box: Mailbox
  /** Commands that have come. */
  came = 0

  constructor(peerTimeout = 60_000) {
    this.box = new Mailbox({ peerTimeout, deposits: 10, bytes: 1000 }, new MailboxCount(), () => this.came)
  }

  /** So many commands that wait for something from alice; ends with what came, or the codes. */
  async wait(count: number): Promise<string[]> {
    const first = this.came + 1
    this.came += count
    const outcomes: string[] = []
    for (let n = first; n < first + count; n++) {
      const outcome = await Promise.resolve(this.box.take(`k${n}`, 'alice', n)).then(
        ({ kind }) => kind,
        (error: { code: string }) => error.code,
      )
      outcomes.push(outcome)
    }
    return outcomes
  }
}
/** What a promise has come to after some time. */
async function after<T>(milliseconds: number, promise: Promise<T>): Promise<T | 'still waiting'> {
  let outcome: T | 'still waiting' = 'still waiting'
  promise.then((value) => {
    outcome = value
  })
  await vi.advanceTimersByTimeAsync(milliseconds)
  return outcome
}

describe('commands that wait for a peer that was lost', () => {
  const lost = (count: number): string[] => Array(count).fill('ERR_WORKER_LOST')

  it('have one grace together, and not each of them its own', async () => {
    const commands = new Commands()
    commands.box.lose('alice', gone)
    expect(await after(RETURN + 10, commands.wait(20))).toEqual(lost(20))
  })

  it('have the rest of a grace that began when it was lost', async () => {
    const commands = new Commands()
    commands.box.lose('alice', gone)
    await vi.advanceTimersByTimeAsync(0.8 * RETURN)
    // To hear of it again does not begin it anew.
    commands.box.lose('alice', gone)
    expect(await after(0.2 * RETURN + 10, commands.wait(20))).toEqual(lost(20))
  })

  it('have another one where they come when it is over: who had nothing to say since has not dialled yet', async () => {
    const commands = new Commands()
    commands.box.lose('alice', gone)
    await vi.advanceTimersByTimeAsync(2 * RETURN)
    const waiting = commands.wait(20)
    expect(await after(0.5 * RETURN, waiting)).toBe('still waiting')
    expect(await after(0.5 * RETURN + 10, waiting)).toEqual(lost(20))
    const another = commands.wait(1)
    expect(await after(0.5 * RETURN, another)).toBe('still waiting')
    commands.box.found('alice')
    expect(await after(10 * RETURN, another)).toBe('still waiting')
    commands.box.put(`k${commands.came}`, 'alice', { kind: 'none' })
    expect(await another).toEqual(['none'])
  })

  it('end with the time of a wait where that is shorter, and leave no timer with the session', async () => {
    const commands = new Commands(100)
    commands.box.lose('alice', gone)
    expect(await after(110, commands.wait(20))).toEqual(lost(20))
    const ending = new Commands()
    ending.box.lose('alice', gone)
    const waiting = ending.wait(1)
    ending.box.end()
    expect(await waiting).toEqual(['ERR_SESSION_CLOSED'])
    expect(vi.getTimerCount()).toBe(0)
  })
})
