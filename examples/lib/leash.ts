/**
 * Loaded first by the processes that an example starts. Their standard input is a pipe from the example, which nobody
 * writes to: it ends when the example does, whatever ended it, and they end too.
 */
import type { Socket } from 'node:net'

const pipe = process.stdin as unknown as Socket
pipe.on('end', () => process.exit()).on('error', () => process.exit())
pipe.resume()
// To wait for that is no reason to stay.
pipe.unref()
