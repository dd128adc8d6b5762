/** A folder for the processes of an example. */
import { rmSync } from 'node:fs'
import { mkdir, mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

/**
 * Runs an action in a folder: a new one of that name, which stays; or, without a name, one that is gone when the action has
 * ended, or the process.
 */
export async function inFolder<R>(
  prefix: string,
  name: string | undefined,
  action: (folder: string) => Promise<R>,
): Promise<R> {
  if (name !== undefined) {
    const kept = resolve(name)
    await mkdir(kept, { mode: 0o700 })
    return action(kept)
  }
  const folder = await mkdtemp(join(tmpdir(), prefix))
  const forget = () => rmSync(folder, { recursive: true, force: true })
  process.once('exit', forget)
  try {
    return await action(folder)
  } finally {
    process.off('exit', forget)
    forget()
  }
}
