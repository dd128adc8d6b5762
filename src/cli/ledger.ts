/** `sotto ledger`: what left a worker in clear or came to be known there. */
import { SocketWorker, whoSawWhat } from '../index.ts'
import { type ConnectionFlags, connectOptions } from './connection.ts'
import type { Io } from './io.ts'

/** Prints the ledger as the table of who saw what; or each entry as a line of JSON, as it stands there. */
export async function printLedger(url: string, flags: ConnectionFlags & { json?: boolean }, io: Io): Promise<void> {
  const worker = await SocketWorker.connect(url, await connectOptions(flags, io))
  try {
    if (flags.json) for (const entry of await worker.ledger()) io.out(`${JSON.stringify(entry)}\n`)
    else await whoSawWhat([worker], { print: (text) => io.out(`${text}\n`) })
  } finally {
    await worker.close()
  }
}
