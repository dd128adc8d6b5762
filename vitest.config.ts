import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitest/config'

const source = fileURLToPath(new URL('./src/index.ts', import.meta.url))

/** Whether the native backend is installed, binary and all. */
function hasTfjsNode(): boolean {
  try {
    createRequire(import.meta.url)('@tensorflow/tfjs-node')
    return true
  } catch {
    return false
  }
}

/**
 * Everything runs on wasm. Suites that compute run on the other backends too, by a command of their own
 * (`npm run test:backends`); who sees what is the same on each.
 */
const others = ['cpu', ...(hasTfjsNode() ? ['tensorflow'] : [])]
const computing = ['test/tensor/**/*.test.ts', 'test/conformance/{autograd,models,pointers}.test.ts']

/**
 * Files with a process of their own. The others share processes, for to load tfjs and the sources takes most of a second;
 * but not those that put something else in the place of a module, nor those that depend on what is left over in a process.
 */
const alone = [
  'test/conformance/memory.test.ts',
  'test/tensor/ops.test.ts',
  ...['memory', 'prg'].map((name) => `test/smpc/${name}.test.ts`),
  ...['codec', 'identity', 'link', 'seal', 'tokens'].map((name) => `test/worker/${name}.test.ts`),
]

/**
 * Suites in which every party is a process of its own, or a thread with the loader of TypeScript. They take a minute, and
 * have a command of their own: `npm run test:parties`.
 */
const parties = ['test/**/*.parties.test.ts']

/**
 * What hostile peers, broken connections and curious parties get: minutes of sockets, threads and statistics, with a
 * command of their own, `npm run test:security`. So have the examples: `npm run test:examples`.
 */
const security = [
  'test/worker/**/*.test.ts',
  ...['failures', 'hostile', 'permissions', 'transcripts'].map((name) => `test/smpc/${name}.test.ts`),
  ...['hostile', 'transcripts'].map((name) => `test/psi/${name}.test.ts`),
  'test/federated/secagg/attacks.test.ts',
]
const examples = ['test/examples/**/*.test.ts']

/** Which suites: those of `npm test`, or those of another command. */
const suite = process.env['SOTTO_SUITE'] ?? 'main'

interface Project {
  readonly name: string
  readonly backend: string
  readonly include: string[]
  readonly exclude?: string[]
  readonly isolate?: boolean
}

const project = ({ backend, exclude = [], isolate = false, ...rest }: Project) => ({
  test: {
    ...rest,
    exclude,
    isolate,
    env: { SOTTO_TEST_BACKEND: backend },
    alias: { sotto: source },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Garbage is collected on demand where a test counts what is left; and less often where much is made and dropped.
    execArgv: ['--expose-gc', '--max-semi-space-size=64'],
  },
})

const wasm = (include: string[], exclude: readonly string[] = []): Project => ({
  name: 'wasm',
  backend: 'wasm',
  include,
  exclude: [...alone, ...parties, ...exclude],
})
const wasmAlone = (include: string[]): Project => ({ name: 'wasm-alone', backend: 'wasm', include, isolate: true })
const isOfWorkers = (file: string): boolean => file.startsWith('test/worker/')

const suites: Readonly<Record<string, readonly Project[]>> = {
  main: [
    wasm(['test/**/*.test.ts'], [...security, ...examples]),
    wasmAlone(alone.filter((file) => !isOfWorkers(file))),
  ],
  security: [wasm(security), wasmAlone(alone.filter(isOfWorkers))],
  examples: [wasm(examples)],
  backends: others.map((backend) => ({ name: backend, backend, include: computing })),
  parties: [{ name: 'parties', backend: 'wasm', include: parties }],
}

export default defineConfig({
  test: {
    // Both cores: the suites compute, and wait for little. A third worker makes a run longer.
    maxWorkers: 2,
    globalSetup: './test/build.ts',
    experimental: { fsModuleCache: true },
    projects: (suites[suite] ?? []).map(project),
  },
})
