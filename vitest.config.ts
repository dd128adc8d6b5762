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

const backends = ['wasm', 'cpu', ...(hasTfjsNode() ? ['tensorflow'] : [])]

/** Suites that compute run once on every backend there is; who sees what, like all the rest, is the same on each. */
const computing = ['test/tensor/**/*.test.ts', 'test/conformance/!(privacy).test.ts']

/**
 * Files with a process of their own. The others of a project share processes, for to load tfjs and the sources takes most
 * of a second; but not those that put something else in the place of a module, nor those that depend on what is left over
 * in a process.
 */
const alone = {
  computing: ['test/conformance/memory.test.ts'],
  others: [
    ...['memory', 'prg'].map((name) => `test/smpc/${name}.test.ts`),
    ...['codec', 'identity', 'seal', 'tokens'].map((name) => `test/worker/${name}.test.ts`),
  ],
}

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
    // Garbage is collected on demand where a test counts what is left.
    execArgv: ['--expose-gc'],
  },
})

export default defineConfig({
  test: {
    // Both cores: the suites compute, and wait for nothing.
    maxWorkers: 2,
    globalSetup: './test/build.ts',
    projects: [
      ...backends.flatMap((backend) => [
        project({ name: backend, backend, include: computing, exclude: alone.computing }),
        project({ name: `${backend}-alone`, backend, include: alone.computing, isolate: true }),
      ]),
      project({
        name: 'once',
        backend: 'wasm',
        include: ['test/**/*.test.ts'],
        exclude: [...computing, ...alone.others],
      }),
      project({ name: 'once-alone', backend: 'wasm', include: alone.others, isolate: true }),
    ],
  },
})
