/** The data sets that a worker starts with, read from files of their owner. */
import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import { readDataFile } from '../data/data-file.ts'
import { readIdRows } from '../psi/id-file.ts'
import type { OwnData } from '../worker/own-data.ts'
import type { Io } from './io.ts'
import type { Settings } from './worker-options.ts'

/**
 * Reads the files one after the other. What takes long says so where somebody watches.
 *
 * @throws as {@link readDataFile}, which names the file
 */
export async function readOwnFiles(settings: Settings, io: Io): Promise<Record<string, OwnData>> {
  const { data = {}, tags, columns, ids, allow, allowResults, allowShares, allowTotals, allowMatches } = settings
  const isPublic = new Set(settings.public)
  const sets: Record<string, OwnData> = {}
  const files = Object.entries(data)
  const progress = new Progress(files.length, io)
  try {
    for (const [name, path] of files) {
      await progress.begin(path)
      const tensor =
        ids?.[name] === undefined
          ? await readDataFile(path, columns?.[name] === undefined ? {} : { columns: columns[name] })
          : await readIdRows(path, { columns: ids[name] })
      sets[name] = {
        ...tensor,
        tags: tags?.[name] ?? [],
        public: isPublic.has(name),
        allow: allow?.[name] ?? [],
        allowResults: allowResults?.[name] ?? [],
        allowShares: allowShares?.[name] ?? [],
        allowTotals: allowTotals?.[name] ?? [],
        allowMatches: allowMatches?.[name] ?? [],
      }
    }
  } finally {
    progress.end()
  }
  return sets
}

/** Bytes of a file that takes a moment to read, and milliseconds after which all of them have taken one. */
const LARGE = 2 ** 26
const LONG = 1000
/** To the start of the line, and clear it (ECMA-48, EL). */
const CLEAR = '\r\x1b[K'

/** A line on a terminal that says what is being read; nothing elsewhere, and nothing as long as it goes fast. */
class Progress {
  readonly #files: number
  readonly #io: Io
  readonly #started = performance.now()
  #begun = 0
  #isShown = false

  constructor(files: number, io: Io) {
    this.#files = files
    this.#io = io
  }

  async begin(path: string): Promise<void> {
    this.#begun++
    if (!this.#io.isTerminal) return
    // A file that is not there says so when it is read.
    const size = await stat(path).then(
      (found) => found.size,
      () => 0,
    )
    if (size < LARGE && performance.now() - this.#started < LONG) return
    const megabytes = (size / 1e6).toFixed(1)
    this.#io.err(`${CLEAR}reading ${basename(path)}, ${megabytes} MB (${this.#begun} of ${this.#files})`)
    this.#isShown = true
  }

  end(): void {
    if (this.#isShown) this.#io.err(CLEAR)
  }
}
