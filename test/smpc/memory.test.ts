/** What secrets take, they give back: objects and shares on the workers, tensors and the heap here. */
import fc from 'fast-check'
import {
  type FixedPrecisionPointer,
  fixPrecision,
  optim,
  type SharedTensor,
  scope,
  send,
  share,
  sharedRandom,
  sharedZeros,
  tf,
  type Worker,
} from 'sotto'
import { expect, it } from 'vitest'
import { inProcess, onEveryWorker } from '../conformance/workers.ts'
import { type Call, generator, type OperandSample } from '../tensor/op-samples.ts'
import { isFloat, type Method, methodOf, type Operation, operations } from './operations.ts'

const isLong = process.env['SOTTO_LONG'] !== undefined
const STEPS = isLong ? 1000 : 80

/** tf.tidy, for what holds no tensors of tfjs. */
function tidy<T>(action: () => T): T {
  let result!: T
  tf.tidy(() => {
    result = action()
  })
  return result
}

/** Lets finalizers and timers run. */
const turn = () => new Promise((resolve) => setTimeout(resolve, 0))

/** Tensors here, objects on each worker, and the shares that each party of a secret's group holds. */
async function counts({ group }: SharedTensor, workers: readonly Worker[]) {
  // Asked first: it waits until the parties are done with what was issued.
  await Promise.all(workers.map((each) => each.flush()))
  const { parties } = await group.stats()
  const { numTensors, numDataBuffers } = tf.memory()
  const objects = await Promise.all(workers.map((each) => each.objectCount()))
  return { numTensors, numDataBuffers, objects, shares: parties.map(({ shares }) => shares) }
}

type Four = [bob: Worker, alice: Worker, jane: Worker, carol: Worker]
const four = (worker: (id: string) => Worker): Four => ['bob', 'alice', 'jane', 'carol'].map(worker) as Four

onEveryWorker((worker, kind) => {
  const isSlow = kind.includes('latency')
  // As bytes each step takes twice the time.
  const steps = kind === 'in process' ? STEPS : STEPS / 4

  it(`holds object and share counts flat over ${steps} secret training steps`, async (test) => {
    if (isSlow) test.skip('thousands of rounds, and nothing that is not held without latency')
    const workers = four(worker)
    const [bob, alice, jane, carol] = workers
    const parties = [bob, alice, jane]
    const options = { provider: carol }
    const random = generator(5)
    const drawn = (shape: [number, number]) =>
      tidy(() =>
        fixPrecision(
          tf.tensor(
            Float32Array.from({ length: shape[0] * shape[1] }, () => random()),
            shape,
          ),
        ),
      )
    const x = share(drawn([4, 5]), parties, options)
    const y = share(drawn([4, 1]), parties, options)
    const near = share(drawn([5, 3]), parties, options).requireGrad()
    const far = share(drawn([3, 1]), parties, options).requireGrad()
    const bias = sharedZeros([3], parties, options).requireGrad()
    const opt = optim.sgd([near, far, bias], { learningRate: 0.02, momentum: 0.5 })
    const step = async (): Promise<number> => {
      const loss = scope(() => {
        const value = x.matMul(near).add(bias).relu().matMul(far).sub(y).square().mean()
        value.backward()
        opt.step()
        opt.zeroGrad()
        return value
      })
      const revealed = await loss.reveal()
      const [result] = revealed.dataSync()
      revealed.dispose()
      loss.dispose()
      return result!
    }
    const first = await step()
    const before = await counts(x, workers)
    let last = first
    for (let i = 1; i < steps; i++) last = await step()
    expect(await counts(x, workers)).toEqual(before)
    // It did train.
    expect(last).toBeLessThan(first / 2)
    opt.dispose()
    for (const secret of [x, y, near, far, bias]) secret.dispose()
    expect(await counts(x, workers)).toMatchObject({ objects: [0, 0, 0, 0], shares: [0, 0, 0] })
  }, 120_000)

  it('holds counts flat for every operation on secrets, and for its gradient', async (test) => {
    if (kind !== 'in process') test.skip('what is computed is the same on all of them')
    const workers = four(worker)
    const [bob, alice, jane] = workers
    const options = { provider: jane }
    const made = (operand: OperandSample, isPublic: boolean): unknown => {
      if (typeof operand !== 'object' || operand === null) return operand ?? undefined
      const { values, shape, dtype } = operand
      return tidy(() => {
        const t = tf.tensor(values.slice(), [...shape], dtype)
        return isPublic ? t.arraySync() : share(dtype === 'float32' ? fixPrecision(t) : t, [bob, alice], options)
      })
    }
    const run = (name: Method, { invoke, others }: Operation, { operands, args }: Call, withGrad: boolean): void =>
      scope(() => {
        const given = operands.map((operand, i) => made(operand, i > 0 && others[i - 1] === 'public'))
        const leaves = given.filter((one) => withGrad && (one as SharedTensor | undefined)?.dtype === 'float32')
        for (const leaf of leaves as SharedTensor[]) leaf.requireGrad()
        const result = invoke ? invoke(given, args) : methodOf(given[0], name)(...given.slice(1), ...args)
        for (const one of [result].flat() as SharedTensor[]) if (one.requiresGrad && one.size > 0) one.sum().backward()
        for (const leaf of leaves as SharedTensor[]) leaf.zeroGrad()
      })
    const first = (calls: fc.Arbitrary<Call>): Call => {
      const drawn = fc.sample(calls, { seed: 11, numRuns: 20 })
      const isFull = (x: OperandSample): boolean => typeof x !== 'object' || x === null || x.values.length > 0
      const full = drawn.filter(({ operands }) => operands.every(isFull))
      return full.find(({ operands }) => operands.every((x) => typeof x !== 'object' || isFloat(x))) ?? full[0]!
    }
    const kept = share(fixPrecision([1]), [bob, alice], options)
    for (const [name, operation] of Object.entries(operations) as [Method, Operation][]) {
      const once = (): void => {
        run(name, operation, first(operation.calls), false)
        if (operation.smooth) run(name, operation, first(operation.smooth), true)
      }
      const before = await counts(kept, workers)
      once()
      once()
      expect([name, await counts(kept, workers)]).toEqual([name, before])
    }
  })

  it('holds counts flat when secrets are made and opened, in every way there is', async (test) => {
    const workers = four(worker)
    const [bob, alice, jane, carol] = workers
    const parties = [bob, alice, jane]
    const options = { provider: carol }
    const pointer = send(tf.tensor([1, 2, 3]), alice)
    const kept = share(fixPrecision([1, 2, 3]), parties, options)
    if (isSlow) test.skip('a round trip for each, and nothing that is not held without latency')
    type Way = () => Promise<{ dispose(): unknown } | undefined>
    const far = (): FixedPrecisionPointer => fixPrecision(pointer)
    const ways: Readonly<Record<string, Way>> = {
      'share, reveal': () => scope(() => share(fixPrecision([1, 2]), parties, options).reveal()),
      'share integers, get': async () => {
        await scope(() => tidy(() => share(tf.tensor([1, 2], [2], 'int32'), parties, options)).get())
        return undefined
      },
      'share what is on a worker': () => scope(() => share(far(), parties, options).reveal()),
      sharedZeros: () => scope(() => sharedZeros([3], parties, options).reveal()),
      sharedRandom: () => scope(() => sharedRandom([3], parties, options).reveal()),
      'revealTo a party': () => scope(() => kept.revealTo(bob).get()),
      'revealTo another': () => scope(() => kept.revealTo(carol).get()),
      'fixPrecision and floatPrecision on a worker': () => scope(() => far().mul(far()).floatPrecision().get()),
      'a fixed-precision pointer, fetched': async () => {
        const fixed = far()
        await fixed.fetch()
        fixed.dispose()
        return undefined
      },
      'a fixed-precision pointer, got': async () => {
        await far().get()
        return undefined
      },
      refresh: () => scope(() => kept.refresh().reveal()),
      'a failure': async () => {
        const bad = tidy(() => send(tf.tensor([Number.NaN]), bob))
        const fixed = fixPrecision(bad)
        const secret = share(fixed, parties, options)
        await expect(secret.reveal()).rejects.toMatchObject({ code: 'ERR_ARGUMENT_VALUE' })
        for (const one of [secret, fixed, bad]) one.dispose()
        return undefined
      },
    }
    for (const [name, way] of Object.entries(ways)) {
      const before = await counts(kept, workers)
      for (let i = 0; i < 3; i++) (await way())?.dispose()
      expect([name, await counts(kept, workers)]).toEqual([name, before])
    }
  })

  it('frees secrets, and fixed-precision pointers, that were dropped without dispose', async (test) => {
    if (global.gc === undefined) test.skip('needs node --expose-gc')
    const workers = four(worker)
    const [bob, alice, jane, carol] = workers
    const x = share(fixPrecision([1, 2, 3]), [bob, alice, jane], { provider: carol })
    const fixed = fixPrecision(send(tf.tensor([1, 2]), bob))
    const make = (): unknown[] => {
      const made: unknown[] = []
      for (let i = 0; i < 100; i++) made.push(x.add(i), fixed.add(i))
      // What was saved for gradients goes with the result that the graph belongs to.
      const leaf = x.clone().requireGrad()
      for (let i = 0; i < 20; i++) made.push(leaf.mul(leaf).relu())
      return made
    }
    const held = make()
    // Of the products and of the signs of relu, the graphs hold what they need.
    const full = await counts(x, workers)
    expect(full.objects[0]).toBeGreaterThanOrEqual(2 + 200 + 1 + 40)
    held.length = 0
    const framesBefore = (await bob.stats()).framesIn
    // The pointer was dropped above as well: bob keeps x and the fixed-precision tensor.
    const left = async () => (await Promise.all(workers.map((each) => each.objectCount()))).join()
    for (let i = 0; i < 100 && (await left()) !== '2,1,1,0'; i++) {
      global.gc!()
      await turn()
    }
    expect(await counts(x, workers)).toMatchObject({ objects: [2, 1, 1, 0], shares: [1, 1, 1] })
    // Of secrets one frame for each sweep of the collector; of the pointers one each; and one for each look above.
    expect((await bob.stats()).framesIn - framesBefore).toBeLessThan(320)
    expect((await x.get()).floatPrecision().dataSync()).toEqual(Float32Array.of(1, 2, 3))
    expect((await fixed.fetch()).floatPrecision().dataSync()).toEqual(Float32Array.of(1, 2))
  })

  it('holds the heap flat over 40,000 commands', async (test) => {
    if (!isLong || global.gc === undefined) test.skip('takes seconds; SOTTO_LONG, and node --expose-gc')
    if (kind !== 'in process') test.skip('the same objects, and more of them under way')
    const [bob, alice, jane, carol] = four(worker)
    const x = share(fixPrecision([1, 2, 3]), [bob, alice, jane], { provider: carol })
    const commands = async (n: number): Promise<number> => {
      for (let i = 0; i < n; i++) {
        scope(() => (i % 10 === 0 ? x.mul(x) : x.add(1)))
        if (i % 500 === 0) (await x.reveal()).dispose()
      }
      await Promise.all([bob, alice, jane, carol].map((each) => each.flush()))
      for (let i = 0; i < 6; i++) {
        global.gc!()
        await turn()
      }
      return process.memoryUsage().heapUsed
    }
    await commands(4000)
    const before = await commands(1000)
    const after = await commands(40_000)
    // One forgotten word for each command at each party would be a megabyte.
    expect(after - before).toBeLessThan(1e6)
  })
}, inProcess)
