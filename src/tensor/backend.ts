/**
 * The tensor engine: TensorFlow.js, and the choice of its backend.
 *
 * This folder is the only one that imports tfjs. Importing it registers tfjs's own cpu backend and nothing else: no
 * file is read and no handle opened before {@link ready}.
 */

import { sottoError } from '../errors.ts'
import { checkOptions } from '../options.ts'
import { tf } from './engine.ts'
import { correctFaultyKernels, registerMissingKernels } from './kernels.ts'
import { mendMatMul } from './matmul.ts'

export { tf }

/** tfjs backends that Sotto knows, the fastest first. */
export const backends = ['tensorflow', 'wasm', 'cpu'] as const
export type Backend = (typeof backends)[number]

/** Loads what a backend needs; resolves to whether it is there. */
const load: Record<Backend, () => Promise<boolean>> = {
  async tensorflow() {
    try {
      // Optional, and absent wherever its binary could not be fetched at install time.
      const name: string = '@tensorflow/tfjs-node'
      await import(name)
      return tf.findBackendFactory('tensorflow') !== null
    } catch {
      return false
    }
  },
  async wasm() {
    try {
      await import('@tensorflow/tfjs-backend-wasm')
      return true
    } catch {
      return false
    }
  },
  async cpu() {
    return tf.findBackendFactory('cpu') !== null
  },
}

export interface ReadyOptions {
  /** The backend to use; without it the fastest that is there. */
  backend?: Backend
}

/** What an earlier call settled on. */
let chosen: Backend | null = null

/**
 * Makes the tensor engine ready and says which backend it runs on.
 *
 * Prefers `tensorflow` (`@tensorflow/tfjs-node`, optional) to `wasm` to `cpu`. The WebAssembly files are those inside
 * the installed package; nothing is fetched. Training kernels that wasm lacks are registered, and one that loses
 * gradients without saying so is replaced (see `kernels.ts`).
 *
 * Called again without a backend, it keeps the one there is.
 *
 * @throws StateError `ERR_BACKEND` when the backend asked for is not there
 */
export async function ready(options: ReadyOptions = {}): Promise<Backend> {
  checkOptions('ready', options, ['backend'])
  const { backend } = options
  if (backend === undefined && chosen !== null) return chosen
  if (backend !== undefined && !backends.includes(backend)) {
    throw sottoError('ERR_BACKEND', `ready: unknown backend "${backend}"; there are ${backends.join(', ')}`, {
      backend,
    })
  }
  for (const name of backend === undefined ? backends : [backend]) {
    if (!(await load[name]())) continue
    if (!(await quietly(() => withoutListeners(() => tf.setBackend(name))))) continue
    await tf.ready()
    registerMissingKernels(name)
    correctFaultyKernels(name)
    if (name === 'wasm') mendMatMul()
    chosen = name
    return name
  }
  throw sottoError(
    'ERR_BACKEND',
    `ready: the ${backend} backend is not there${backend === 'tensorflow' ? '; install @tensorflow/tfjs-node' : ''}`,
    { backend },
  )
}

/** The backend in use now. */
export function backendName(): Backend {
  return tf.getBackend() as Backend
}

/** tfjs greets users of its cpu backend in Node with a banner about tfjs-node; whoever chose cpu knows. */
async function quietly<T>(action: () => Promise<T>): Promise<T> {
  const environment = tf.env()
  const before = environment.getBool('IS_TEST')
  environment.set('IS_TEST', true)
  try {
    const result = await action()
    tf.tensor(0).dispose()
    return result
  } finally {
    environment.set('IS_TEST', before)
  }
}

/**
 * The WebAssembly module of tfjs puts listeners of its own on uncaught errors, which throw them again from inside its
 * one 30 kB line: every crash of the user's script would print that line. They are taken off again.
 */
async function withoutListeners<T>(action: () => Promise<T>): Promise<T> {
  const { process } = globalThis
  if (process?.listeners === undefined) return action()
  const events = ['uncaughtException', 'unhandledRejection'] as const
  const before = events.map((event) => new Set<unknown>(process.listeners(event as 'exit')))
  const result = await action()
  events.forEach((event, i) => {
    for (const listener of process.listeners(event as 'exit')) {
      if (!before[i]!.has(listener)) process.removeListener(event, listener)
    }
  })
  return result
}
