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

/** Suites that compute run once on every backend there is; the others once. */
const backends = ['wasm', 'cpu', ...(hasTfjsNode() ? ['tensorflow'] : [])]
const computing = ['test/tensor/**/*.test.ts', 'test/worker/**/*.test.ts', 'test/conformance/**/*.test.ts']
/** Of these, what is about connections and who comes over them: on one backend. */
const connections = [
  'access',
  'admission',
  'capabilities',
  'checkpoint-folder',
  'codec',
  'failure',
  'foreign-client',
  'golden-frames',
  'hostile',
  'hostile-server',
  'hub',
  'identity',
  'link',
  'mailbox',
  'seal',
  'session',
  'thread',
  'tokens',
].map((name) => `test/worker/${name}.test.ts`)

/** Garbage is collected on demand where a test counts what is left. */
const execArgv = ['--expose-gc']
const shared = { alias: { sotto: source }, testTimeout: 60_000, hookTimeout: 60_000, execArgv }

export default defineConfig({
  test: {
    // Both cores: the suites compute, and wait for nothing.
    maxWorkers: 2,
    globalSetup: './test/build.ts',
    projects: [
      ...backends.map((backend) => ({
        test: {
          ...shared,
          name: backend,
          include: computing,
          exclude: backend === 'wasm' ? [] : connections,
          env: { SOTTO_TEST_BACKEND: backend },
        },
      })),
      {
        test: {
          ...shared,
          name: 'once',
          include: ['test/**/*.test.ts'],
          exclude: computing,
          env: { SOTTO_TEST_BACKEND: 'wasm' },
        },
      },
    ],
  },
})
