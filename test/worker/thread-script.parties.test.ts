/** A script in TypeScript, as examples run, whose workers are threads. */
import { spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

describe('a script with workers in threads', () => {
  const root = fileURLToPath(new URL('../../', import.meta.url))
  // All other threads of the tests start from what was built of it.
  const { SOTTO_BUILT: _, ...env } = process.env
  const run = (code: string): Promise<{ status: number | null; output: string }> =>
    new Promise((resolve, reject) => {
      const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', code], {
        cwd: root,
        env,
      })
      let output = ''
      for (const stream of [child.stdout, child.stderr]) {
        stream.on('data', (data) => {
          output += data
        })
      }
      child.on('error', reject)
      child.on('exit', (status) => resolve({ status, output }))
    })

  it('ends by itself, once all it waits for is there', async () => {
    const { status, output } = await run(`
      import { ready, tf, send, VirtualWorker } from ${JSON.stringify(`${root}src/index.ts`)}
      // Before there is a backend here, the thread takes one of its own.
      const bob = new VirtualWorker('bob', { thread: true })
      await ready()
      const x = send(tf.tensor([1, 2]), bob)
      console.log('sum', (await x.sum().get()).dataSync()[0])
      setTimeout(() => x.sum().get().then((sum) => console.log('again', sum.dataSync()[0])), 10)
    `)
    expect(output).toBe('sum 3\nagain 3\n')
    expect(status).toBe(0)
  })
})
