/**
 * Demos among real parties, on one machine: every party is a process of its own with a folder of its own, a key, a
 * certificate, and a token for the researcher, who is a process too. Owners' data is read by the owners' workers from the
 * owners' folders; nobody sends it. README.md tells how to do the same on machines of one's own.
 *
 *     npx tsx examples/hosts/run.ts secret-spam
 */
import { once } from 'node:events'
import { rmSync } from 'node:fs'
import { mkdir, mkdtemp, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Argument } from 'commander'
import { ready } from 'sotto'
import { command, isMain, wholeNumber } from '../lib/options.ts'
import { allOrNone, startScript, startWorkerProcess } from '../lib/processes.ts'
import { type Demo, demos, RESEARCHER, type Settings } from './parties.ts'
import { prepare } from './prepare.ts'
import type { Experiment } from './researcher.ts'

export interface HostsOptions extends Partial<Omit<Settings, 'seed'>> {
  readonly seed: number
  /** Where the folders of the parties go, and stay; without it they are gone at the end. */
  readonly folder?: string
}

/** Runs a demo to its end. @throws Error when the researcher's process fails */
export async function runHosts(name: string, options: HostsOptions): Promise<void> {
  const demo = demos[name]!
  const { folder: kept, ...given } = options
  const settings: Settings = { ...demo.defaults, ...given }
  if (kept !== undefined) {
    const folder = resolve(kept)
    await mkdir(folder, { mode: 0o700 })
    await among(name, demo, settings, folder)
    console.log(`\nWhat each party had, and what the researcher keeps, is in ${folder}`)
    return
  }
  const folder = await mkdtemp(join(tmpdir(), 'sotto-hosts-'))
  const forget = () => rmSync(folder, { recursive: true, force: true })
  process.once('exit', forget)
  try {
    await among(name, demo, settings, folder)
  } finally {
    process.off('exit', forget)
    forget()
  }
}

async function among(name: string, demo: Demo, settings: Settings, folder: string): Promise<void> {
  console.log(demo.title)
  console.log(`\n1. What each party has on its machine, here in ${folder}`)
  await ready()
  const scene = await demo.scene(settings)
  const { known, withTls } = await prepare(folder, scene)
  for (const { name: party, role, data } of scene.parties) {
    console.log(`   ${party.padEnd(10)} ${role}`)
    for (const set of Object.keys(data)) console.log(`   ${' '.repeat(10)} ${await fileLine(join(folder, party), set)}`)
  }
  console.log(`   ${RESEARCHER} has a token from each of them, knows their keys, and has nothing of their data`)
  if (!withTls)
    console.log('   there is no openssl command to make certificates with: going on with ws://, on loopback')

  console.log('\n2. Each owner starts a worker: sotto worker --config worker.yaml')
  const workers = await allOrNone(
    scene.parties.map(({ name: party }) => startWorkerProcess(['--config', join(folder, party, 'worker.yaml')])),
    ({ stop }) => stop(),
  )
  try {
    const at: Record<string, Experiment['workers'][string]> = {}
    scene.parties.forEach(({ name: party }, i) => {
      const { url, key, pid } = workers[i]!
      console.log(`   ${party.padEnd(10)} process ${pid} at ${url}, key ${key}`)
      // The key is the one that its owner has told, whatever answers at the address.
      at[party] = { url, ...known[party]! }
    })
    const experiment: Experiment = { demo: name, settings, workers: at }
    await writeFile(join(folder, RESEARCHER, 'experiment.json'), `${JSON.stringify(experiment, null, 2)}\n`)

    console.log('\n3. The researcher starts the experiment')
    await research(join(folder, RESEARCHER))
  } finally {
    await Promise.all(workers.map(({ stop }) => stop()))
  }
  console.log(`\nThe processes of ${scene.parties.map((party) => party.name).join(', ')} have ended`)
}

async function fileLine(folder: string, set: string): Promise<string> {
  const { size } = await stat(join(folder, `${set}.npy`))
  return `${set}.npy, ${(size / 1000).toFixed(0)} kB`
}

/** Runs the researcher's process, and prints what it says. */
async function research(folder: string): Promise<void> {
  const script = fileURLToPath(new URL('./researcher.ts', import.meta.url))
  const child = startScript(script, [folder], 'inherit')
  const exited = once(child, 'exit')
  for await (const line of createInterface({ input: child.stdout! })) console.log(line === '' ? '' : `   ${line}`)
  const [code] = await exited
  if (code !== 0) throw new Error(`the researcher's process ended with exit code ${code}`)
}

if (isMain(import.meta.url)) {
  const program = command('run', 'Demos among real parties: a process, a folder and a key for each.')
    .addArgument(new Argument('<demo>', 'which').choices(Object.keys(demos)))
    .option('--rounds <n>', 'rounds of training, or passes over the data', wholeNumber)
    .option('--limit <n>', 'use so many images or messages only; 0 for all', wholeNumber)
    .option('--seed <n>', 'for weights and shuffling', wholeNumber, 1)
    .option('--folder <path>', 'a new folder for what each party has, kept; else it is gone at the end')
    .parse()
  // What is to be done at the end is then done.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
  await runHosts(program.args[0]!, program.opts())
}
