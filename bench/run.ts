/** Runs the benchmarks, one process each: all of them, or those that are named. */
import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('.', import.meta.url))
/** What the others import. */
const shared = new Set(['run.ts', 'measure.ts', 'mnist-net.ts', 'parties.ts', 'processes.ts'])
const all = readdirSync(folder).filter((file) => file.endsWith('.ts') && !shared.has(file))
const named = process.argv.slice(2)
const unknown = named.filter((name) => !all.includes(`${name}.ts`))
if (unknown.length > 0) {
  console.error(
    `no such benchmark: ${unknown.join(', ')}; there are ${all.map((file) => file.slice(0, -3)).join(', ')}`,
  )
  process.exit(2)
}
for (const file of named.length > 0 ? named.map((name) => `${name}.ts`) : all) {
  console.log(`\n# ${file.slice(0, -3)}`)
  const { status } = spawnSync(process.execPath, ['--import', 'tsx', `${folder}${file}`], { stdio: 'inherit' })
  if (status !== 0) process.exitCode = 1
}
