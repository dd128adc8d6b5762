/** The file of a job in secret, and the scripts beside it. */
import { dirname, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { sottoError } from '../errors.ts'
import { idOf, type SecretJob, secretJobFrom } from '../smpc/jobs/definition.ts'
import type { JobScript } from '../smpc/jobs/steps.ts'
import { readBytes, readText } from './secret-files.ts'

export interface JobFile {
  readonly job: SecretJob
  readonly id: string
  /** Loads a script of the job: code of this machine's own disk, with the hash that all parties have agreed on. */
  script(file: string): Promise<JobScript>
}

/**
 * Reads a job. Every party checks the scripts that it names: whoever runs one runs what all of them have.
 *
 * @throws StateError `ERR_JOB` with file and field; `ERR_JOB_MISMATCH` for a script that is another than the job's
 */
export async function readJobFile(path: string): Promise<JobFile> {
  let content: unknown
  const text = await readText(path)
  try {
    content = JSON.parse(text)
  } catch (error) {
    throw sottoError('ERR_JOB', `${path}: it is no JSON: ${(error as Error).message.split('\n', 1)[0]}`, { path })
  }
  let job: SecretJob
  try {
    job = secretJobFrom(content)
  } catch (error) {
    throw sottoError('ERR_JOB', `${path}: ${(error as Error).message}`, { path }, error)
  }
  const pathOf = (file: string): string => resolve(dirname(path), file)
  const check = async (file: string, hash: string): Promise<void> => {
    const found = bytesToHex(sha256(await readBytes(pathOf(file))))
    if (found === hash) return
    throw sottoError('ERR_JOB_MISMATCH', `${pathOf(file)}: its SHA-256 is ${found}, and in the job ${hash}`, { file })
  }
  const hashes = new Map(job.steps.flatMap((step) => (step.do === 'script' ? [[step.file, step.sha256] as const] : [])))
  for (const [file, hash] of hashes) await check(file, hash)
  return {
    job,
    id: idOf(job),
    async script(file) {
      await check(file, hashes.get(file)!)
      const loaded = (await import(pathToFileURL(pathOf(file)).href)) as { readonly default?: unknown }
      if (typeof loaded.default === 'function') return loaded.default as JobScript
      throw sottoError('ERR_JOB', `${file}: expected "export default async function (secrets) { … }"`, { file })
    },
  }
}
