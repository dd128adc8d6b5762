/**
 * A tour of pointers: tensors on workers, found by tags, computed with, moved, differentiated, and kept private.
 */
import { hook, isSottoError, optim, ready, scope, tf, whoSawWhat } from 'sotto'
import { command, isMain } from './lib/options.ts'
import { startWorkers, type WorkerKind, workersOption } from './lib/workers.ts'

export interface PointersOptions {
  workers: WorkerKind
}

export interface PointersResult {
  sum: number
  refusals: string[]
  weights: number[]
}

/** What an action throws, as its code and its message. */
async function failureOf(action: () => unknown): Promise<{ code: string; message: string }> {
  try {
    await action()
  } catch (error) {
    if (isSottoError(error)) return error
    throw error
  }
  throw new Error('this was to fail')
}

export async function pointers(options: PointersOptions): Promise<PointersResult> {
  console.log(`Sotto on the ${await ready()} backend`)
  hook()
  await using workers = await startWorkers(options.workers, ['bob', 'alice'])
  const [bob, alice] = workers.all
  bob.addWorkers([alice])
  const counts = async () => `${await bob.objectCount()} objects on bob, ${await alice.objectCount()} on alice`
  const refusals: string[] = []

  console.log('\n1. Send, compute, get')
  const x = tf.tensor([1, 2, 3, 4, 5]).send(bob, { tags: ['#toy'], description: 'five numbers' })
  console.log(`   x is ${x}`)
  const y = x.add(x).sum()
  console.log(`   x.add(x).sum() is ${y}: its shape is known before it is computed`)
  const value = await y.get()
  const sum = value.dataSync()[0]!
  console.log(`   get() brings it here: ${sum}; ${await counts()}`)

  console.log('\n2. Objects appear and go')
  scope(() => x.mul(2).relu().mean())
  console.log(`   what a scope made and did not return is gone: ${await counts()}`)
  const z = x.move(alice)
  console.log(`   x moved from bob to alice, past this script: ${await counts()}`)

  console.log('\n3. Search by tags')
  const [found] = await alice.search(['#toy'])
  console.log(`   alice.search(['#toy']) found ${found}: "${found!.description}"`)
  found!.dispose()
  console.log(`   a pointer that was found does not own; dropping it deletes nothing: ${await counts()}`)

  console.log('\n4. Operands must be together')
  const here = tf.tensor([5, 4, 3, 2, 1]).send(bob)
  for (const attempt of [() => here.add(z), () => here.matMul([[1], [2]]), () => x.sum()]) {
    const { code, message } = await failureOf(attempt)
    refusals.push(code)
    console.log(`   ${code}: ${message}`)
  }

  console.log('\n5. Private data')
  const own = bob.as('bob')
  const secret = tf.tensor([3, 1, 4]).send(own, { tags: ['#secret'], private: true, allow: ['carol'] })
  // Sessions do not wait for one another.
  await own.flush()
  const [asMe] = await bob.search(['#secret'])
  const doubled = asMe!.mul(2)
  for (const [what, pointer] of [
    ['the value', asMe!],
    ['twice the value', doubled],
  ] as const) {
    const { code, message } = await failureOf(() => pointer.fetch())
    refusals.push(code)
    console.log(`   ${what}: ${code}: ${message}`)
  }
  const [asCarol] = await bob.as('carol').search(['#secret'])
  console.log(`   carol, who is allowed, sees [${(await asCarol!.fetch()).dataSync()}]`)
  console.log(`   and bob, whose it is, [${(await secret.fetch()).dataSync()}]`)

  console.log('\n6. A model trains where the data is')
  const net = tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [2], kernelInitializer: 'zeros' })] })
  const remote = net.send(bob)
  const data = tf
    .tensor([
      [1, 1],
      [0, 1],
      [1, 0],
      [0, 0],
    ])
    .send(bob)
  const target = tf.tensor([[1], [1], [0], [0]]).send(bob)
  const optimizer = optim.sgd(remote.parameters(), { learningRate: 0.1 })
  for (let step = 0; step < 50; step++) {
    scope(() => {
      remote.apply(data).sub(target).square().sum().backward()
      optimizer.step()
      optimizer.zeroGrad()
    })
  }
  await bob.flush()
  const trained = await remote.get()
  const weights = trained.getWeights().flatMap((weight) => [...weight.dataSync()])
  const [first, second, bias] = weights.map((w) => Math.abs(w).toFixed(2))
  console.log(
    `   fifty steps, no answer waited for; of y = second input it learnt ${first} and ${second}, bias ${bias}`,
  )

  await whoSawWhat([bob, alice])
  return { sum, refusals, weights }
}

if (isMain(import.meta.url)) {
  const program = command('pointers', 'A tour of pointers.').addOption(workersOption()).parse()
  await pointers(program.opts())
}
