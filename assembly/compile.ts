/** Compiles AssemblyScript, for the kernels that are shipped and for those they are measured against. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const options = [
  // Raw pointers and no objects: no runtime, and no bounds to check.
  ...['-O3', '--noAssert', '--runtime', 'stub', '--importMemory'],
  ...['--enable', 'simd', '--enable', 'bulk-memory', '--enable', 'nontrapping-f2i'],
]

/**
 * The module of an entry file, as bytes. They follow from the sources and from the compiler's version alone.
 *
 * The compiler runs in a process of its own: what runs this file would translate all of it first, and take longer than
 * it does to compile.
 *
 * @param entry its path from the root of the repository
 * @throws Error after the compiler has said what is wrong
 */
export function compile(entry: string): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'ring-'))
  try {
    const file = join(folder, 'out.wasm')
    const compiler = join(root, 'node_modules/assemblyscript/bin/asc.js')
    execFileSync(process.execPath, [compiler, entry, ...options, '--outFile', file], { cwd: root, stdio: 'inherit' })
    return readFileSync(file)
  } finally {
    rmSync(folder, { recursive: true })
  }
}
