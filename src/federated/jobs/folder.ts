/** A compiled job in a folder, and what its server keeps in another. */
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { isSottoError, sottoError } from '../../errors.ts'
import { type CompiledJob, filesOf, jobOf, TERMS_FILE } from './compiled.ts'
import { MODEL_FILES } from './model-files.ts'

/** Writes a job into a folder, over an earlier one. */
export async function writeJob(folder: string, job: CompiledJob): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (const [name, bytes] of Object.entries(filesOf(job))) await replaceFile(join(folder, name), bytes)
}

/** @throws StateError `ERR_JOB`, with the folder in the message */
export async function readJob(folder: string): Promise<CompiledJob> {
  const files: Record<string, Uint8Array> = {}
  for (const name of [TERMS_FILE, ...MODEL_FILES]) {
    const bytes = await readIfThere(join(folder, name))
    if (bytes !== null) files[name] = bytes
  }
  try {
    return jobOf(files)
  } catch (error) {
    throw isSottoError(error) ? sottoError('ERR_JOB', `${folder}: ${error.message}`, { folder }, error) : error
  }
}

/** Writes a file at one stroke: who reads it, or goes on after a break, finds the old one or the new one. */
export async function replaceFile(path: string, content: Uint8Array | string): Promise<void> {
  const next = `${path}.new`
  const file = await open(next, 'w')
  try {
    await file.writeFile(content)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(next, path)
}

export async function readIfThere(path: string): Promise<Uint8Array | null> {
  try {
    return await readFile(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}
