/** Files that hold or guard secrets: made so that nobody else can read them, and never half written. */
import { type FileHandle, link, open, readFile, realpath, rename, stat, unlink } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { sottoError } from '../errors.ts'

/** Read and written by its owner, and by nobody else. */
const PRIVATE = 0o600

/**
 * The text of a file that was named on the command line.
 *
 * @param hint what to do when it is not there
 * @throws ValueError `ERR_ARGUMENT_VALUE` when it cannot be read
 */
export async function readText(path: string, hint = ''): Promise<string> {
  return new TextDecoder().decode(await readBytes(path, hint))
}

/** The bytes of a file that was named on the command line; see {@link readText}. */
export async function readBytes(path: string, hint = ''): Promise<Uint8Array> {
  try {
    return await readFile(path)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw code === 'ENOENT'
      ? sottoError('ERR_ARGUMENT_VALUE', `${path}: there is no such file${hint && `; ${hint}`}`, { path })
      : sottoError('ERR_ARGUMENT_VALUE', `${path}: it cannot be read: ${message}`, { path })
  }
}

/** Whether users other than its owner can read a file; Windows does not say so in its mode. */
export async function isExposed(path: string): Promise<boolean> {
  return process.platform !== 'win32' && ((await stat(path)).mode & 0o077) !== 0
}

/**
 * Writes a file that was not there.
 *
 * @throws StateError `ERR_ID_TAKEN` when it was
 */
export async function createPrivate(path: string, text: string): Promise<void> {
  let file: FileHandle
  try {
    file = await open(path, 'wx', PRIVATE)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw code === 'EEXIST'
      ? sottoError('ERR_ID_TAKEN', `${path}: it is there already, and is not written over`, { path })
      : sottoError('ERR_ARGUMENT_VALUE', `${path}: it cannot be written: ${message}`, { path })
  }
  await fill(file, text)
}

async function fill(file: FileHandle, content: string | Uint8Array): Promise<void> {
  try {
    await file.writeFile(content)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Tries to be the only one that changes a file, and milliseconds between two. */
const TRIES = 40
const PAUSE = 50

/**
 * Changes a file at one stroke: who reads it meanwhile reads what was there before. A new one is private; one that is
 * there keeps its mode.
 *
 * @param change the new text, of the old; null when there is no file yet
 * @throws whatever `change` throws, and leaves the file as it was; StateError `ERR_ID_TAKEN` when somebody else
 *   does not finish changing it
 */
export async function changePrivate(path: string, change: (text: string | null) => string): Promise<void> {
  const target = await realpath(path).catch(() => path)
  const next = `${target}.new`
  const file = await openAlone(next)
  try {
    const mode = await stat(target).then(
      (found) => found.mode & 0o777,
      () => null,
    )
    const text = change(mode === null ? null : await readText(target))
    if (mode !== null) await file.chmod(mode)
    await fill(file, text)
    await rename(next, target)
  } catch (error) {
    await file.close().catch(() => {})
    await unlink(next)
    throw error
  }
}

/** Opens the file that is to replace another: it is there only while somebody changes the other. */
async function openAlone(path: string): Promise<FileHandle> {
  for (let tries = TRIES; ; tries--) {
    try {
      return await open(path, 'wx', PRIVATE)
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException
      if (code !== 'EEXIST')
        throw sottoError('ERR_ARGUMENT_VALUE', `${path}: it cannot be written: ${message}`, { path })
      if (tries === 0) {
        throw sottoError('ERR_ID_TAKEN', `${path}: somebody else is writing it; if nobody is, remove it`, { path })
      }
    }
    await pause(PAUSE)
  }
}

/**
 * Writes a file of bytes that was not there, at one stroke: it is there whole and private, or not at all.
 *
 * @throws StateError `ERR_ID_TAKEN` when it was there; ValueError `ERR_ARGUMENT_VALUE` when it cannot be written
 */
export async function createWhole(path: string, content: Uint8Array | string): Promise<void> {
  const next = `${path}.${globalThis.crypto.randomUUID()}.new`
  const cannot = (error: unknown): Error =>
    sottoError('ERR_ARGUMENT_VALUE', `${path}: it cannot be written: ${(error as Error).message}`, { path })
  const file = await open(next, 'wx', PRIVATE).catch((error: unknown) => {
    throw cannot(error)
  })
  try {
    await fill(file, content)
    // A second name: unlike a renaming, it takes no other file's place.
    await link(next, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw cannot(error)
    throw sottoError('ERR_ID_TAKEN', `${path}: it is there already, and is not written over`, { path })
  } finally {
    await unlink(next)
  }
}
