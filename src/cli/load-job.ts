/** Loads the module that exports a job: JavaScript, or TypeScript where something is there that reads it. */
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { isSottoError, sottoError } from '../errors.ts'
import type { JobDefinition } from '../index.ts'

/** @throws ValueError `ERR_ARGUMENT_VALUE` for a module that cannot be loaded, or exports no job; what `defineJob` throws */
export async function loadDefinition(path: string): Promise<JobDefinition> {
  const url = pathToFileURL(resolve(path)).href
  const module = await load(url, path).catch((error: Error) => {
    if (isSottoError(error)) throw error
    const isMissing =
      (error as NodeJS.ErrnoException).code === 'ERR_MODULE_NOT_FOUND' && error.message.includes(resolve(path))
    const why = isMissing ? 'there is no such file' : `it cannot be loaded: ${error.message.split('\n', 1)[0]}`
    throw sottoError('ERR_ARGUMENT_VALUE', `${path}: ${why}`, { path }, error)
  })
  // A module of CommonJS is the default export of what stands for it.
  const exported = module.default as { readonly default?: unknown } | undefined
  const definition = exported?.default ?? exported
  if (typeof definition === 'object' && definition !== null) return definition as JobDefinition
  throw sottoError('ERR_ARGUMENT_VALUE', `${path}: expected "export default defineJob({ … })"`, { path })
}

interface Module {
  readonly default?: unknown
}

async function load(url: string, path: string): Promise<Module> {
  try {
    return await import(url)
  } catch (error) {
    // This Node does not read TypeScript, and nothing that does was loaded before.
    if ((error as NodeJS.ErrnoException).code !== 'ERR_UNKNOWN_FILE_EXTENSION' || !/\.[mc]?ts$/.test(path)) throw error
  }
  // Not one of the packages that this one needs: whoever writes jobs in TypeScript has it.
  const name: string = 'tsx/esm/api'
  const tsx = (await import(name).catch(() => null)) as {
    tsImport: (url: string, parent: string) => Promise<Module>
  } | null
  if (tsx !== null) return tsx.tsImport(url, import.meta.url)
  throw sottoError(
    'ERR_ARGUMENT_VALUE',
    `${path}: this Node reads no TypeScript; npm install tsx, take Node 22.18 or newer, or write job.mjs`,
    { path },
  )
}
