/**
 * Checkpoints in a folder of this machine: `<folder>/<worker>/<identity>/<name>.checkpoint`, readable by who runs the
 * worker and nobody else. Node only; loaded by whoever is given a folder.
 */
import { sha256 } from '@noble/hashes/sha2.js'
import { bytesToHex } from '@noble/hashes/utils.js'
import { isSottoError, sottoError } from '../errors.ts'
import { isCheckpointName } from '../tensor/checkpoint.ts'
import type { CheckpointKey } from './checkpoint-file.ts'
import type { CheckpointStore } from './checkpoints.ts'

type Files = typeof import('node:fs/promises')
type Paths = typeof import('node:path')

const SUFFIX = '.checkpoint'
/** Of a file that is being written. */
const UNFINISHED = '.new'
/** Characters of a name in a folder: systems end at 255 bytes, suffixes included. */
const LONGEST = 200
/** Names that are devices on Windows, whatever suffix they have. */
const DEVICE = /^(con|prn|aux|nul|com\d|lpt\d)$/
/** Bytes read at once: Node ends at 2^31. */
const PIECE = 2 ** 30

const utf8 = new TextEncoder()
const escaped = (byte: number): string => `%${byte.toString(16).padStart(2, '0')}`

/**
 * Any text as the name of a file: no two that have bytes in UTF-8 give the same, also where upper and lower case are one.
 * Small letters, digits, `_` and `-` stand for themselves, all else for its bytes; what is too long becomes its SHA-256.
 */
export function fileNameOf(text: string): string {
  let name = ''
  for (const byte of utf8.encode(text)) {
    const character = String.fromCharCode(byte)
    name += /[a-z0-9_-]/.test(character) ? character : escaped(byte)
  }
  if (name.length > LONGEST) return `~${bytesToHex(sha256(utf8.encode(text)))}`
  return DEVICE.test(name) ? escaped(name.charCodeAt(0)) + name.slice(1) : name
}

/** The checkpoint that a file name stands for, or null when it stands for none. */
function nameOf(file: string): string | null {
  if (!file.endsWith(SUFFIX)) return null
  const encoded = file.slice(0, -SUFFIX.length)
  const name = encoded.replaceAll(/%([0-9a-f]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)))
  return isCheckpointName(name) && fileNameOf(name) === encoded ? name : null
}

const codeOf = (error: unknown): string => {
  const { code, name } = error as { code?: unknown; name?: unknown }
  return String(code ?? name)
}

/** What the system says, without the path: whoever hears of it is not on this machine. */
async function saying<T>(what: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    if (isSottoError(error)) throw error
    throw sottoError('ERR_OPERATION_FAILED', `the checkpoint could not be ${what} (${codeOf(error)})`, {}, error)
  }
}

/** What an action gives, or something else where there is no such file or folder. */
const orNothing = <T, N>(action: Promise<T>, nothing: N): Promise<T | N> =>
  action.catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return nothing
    throw error
  })

/** A folder of checkpoints. */
export class FolderCheckpoints implements CheckpointStore {
  readonly path: string
  readonly #files: Files
  readonly #paths: Paths

  /** @param path the folder; it is made when it is needed */
  constructor(path: string) {
    const { getBuiltinModule } = globalThis.process
    this.#files = getBuiltinModule('node:fs/promises')
    this.#paths = getBuiltinModule('node:path')
    this.path = this.#paths.resolve(path)
  }

  /** @throws ValueError `ERR_ARGUMENT_VALUE` when the folder cannot be made, or not be written */
  async open(): Promise<void> {
    const { access, constants, mkdir } = this.#files
    try {
      await mkdir(this.path, { recursive: true, mode: 0o700 })
      await access(this.path, constants.R_OK | constants.W_OK | constants.X_OK)
    } catch (error) {
      throw sottoError(
        'ERR_ARGUMENT_VALUE',
        `${this.path}: checkpoints cannot be kept in it: ${(error as Error).message}`,
        { path: this.path },
      )
    }
  }

  #folderOf(worker: string, identity?: string): string {
    const parts = identity === undefined ? [worker] : [worker, identity]
    return this.#paths.join(this.path, ...parts.map(fileNameOf))
  }
  #fileOf({ worker, identity, name }: CheckpointKey): string {
    return this.#paths.join(this.#folderOf(worker, identity), `${fileNameOf(name)}${SUFFIX}`)
  }

  /** Under another name first, on the disk, and then in place: what is there is whole at any moment. */
  async write(key: CheckpointKey, bytes: Uint8Array): Promise<void> {
    const { mkdir, open, rename, rm } = this.#files
    const folder = this.#folderOf(key.worker, key.identity)
    const target = this.#fileOf(key)
    const next = `${target}${UNFINISHED}`
    await saying('written', async () => {
      const isNew = (await mkdir(folder, { recursive: true, mode: 0o700 })) !== undefined
      await rm(next, { force: true })
      try {
        const file = await open(next, 'wx', 0o600)
        try {
          await file.writeFile(bytes)
          await file.sync()
        } finally {
          await file.close()
        }
        await rename(next, target)
      } catch (error) {
        await rm(next, { force: true })
        throw error
      }
      await this.#sync(folder)
      if (isNew) for (const parent of [this.#folderOf(key.worker), this.path]) await this.#sync(parent)
    })
  }

  /** What is in a folder, and under which names, is on the disk when the folder is. Windows has no such thing. */
  async #sync(folder: string): Promise<void> {
    if (process.platform === 'win32') return
    const opened = await this.#files.open(folder, 'r')
    try {
      await opened.sync()
    } finally {
      await opened.close()
    }
  }

  async read(key: CheckpointKey, most: number): Promise<Uint8Array | null> {
    return saying('read', async () => {
      const file = await orNothing(this.#files.open(this.#fileOf(key), 'r'), null)
      if (file === null) return null
      try {
        const bytes = new Uint8Array(Math.min((await file.stat()).size, most))
        let at = 0
        while (at < bytes.length) {
          const { bytesRead } = await file.read(bytes, at, Math.min(bytes.length - at, PIECE), at)
          if (bytesRead === 0) break
          at += bytesRead
        }
        return bytes.subarray(0, at)
      } finally {
        await file.close()
      }
    })
  }

  async list({ worker, identity }: Omit<CheckpointKey, 'name'>): Promise<{ name: string; bytes: number }[]> {
    return saying('listed', async () =>
      (await this.#sizesIn(this.#folderOf(worker, identity))).flatMap(({ file, bytes }) => {
        const name = nameOf(file)
        return name === null ? [] : [{ name, bytes }]
      }),
    )
  }

  /** Counts whatever lies there. What a crash left unfinished is removed: nothing is written meanwhile. */
  async usage(worker: string): Promise<{ count: number; bytes: number }> {
    return saying('counted', async () => {
      const sum = { count: 0, bytes: 0 }
      const folder = this.#folderOf(worker)
      for (const identity of await orNothing(this.#files.readdir(folder), [])) {
        const at = this.#paths.join(folder, identity)
        for (const { file, bytes } of await this.#sizesIn(at)) {
          if (file.endsWith(UNFINISHED)) {
            await this.#files.rm(this.#paths.join(at, file), { force: true })
            continue
          }
          sum.count++
          sum.bytes += bytes
        }
      }
      return sum
    })
  }

  /** Files in a folder, and their bytes. */
  async #sizesIn(folder: string): Promise<{ file: string; bytes: number }[]> {
    const { readdir, stat } = this.#files
    const found: { file: string; bytes: number }[] = []
    for (const entry of await orNothing(readdir(folder, { withFileTypes: true }), [])) {
      if (!entry.isFile()) continue
      const { name: file } = entry
      // One that is removed meanwhile is none.
      const known = await orNothing(stat(this.#paths.join(folder, file)), null)
      if (known !== null) found.push({ file, bytes: known.size })
    }
    return found
  }

  async remove(key: CheckpointKey): Promise<boolean> {
    return saying('removed', async () => {
      const removed = await orNothing(
        this.#files.unlink(this.#fileOf(key)).then(() => true),
        false,
      )
      if (removed) await this.#sync(this.#folderOf(key.worker, key.identity))
      return removed
    })
  }
}
