/** What runs in the thread of a worker: its host, and the connections that `thread.ts` at the other end brings it. */
import { MessageChannel, type MessagePort, parentPort, workerData } from 'node:worker_threads'
import { sottoError } from '../errors.ts'
import { ready } from '../tensor/backend.ts'
import { linksTo, principalOf } from './admission.ts'
import { dialPeer } from './dial.ts'
import { WorkerHost } from './host.ts'
import { Identity } from './identity.ts'
import { nextTurn } from './session.ts'
import type { FromThread, ThreadStart, ToThread } from './thread.ts'
import type { LocalCredentials } from './transport/local.ts'
import { PortTransport } from './transport/thread.ts'
import type { Transport } from './transport/transport.ts'

const { id, limits, checkpoints, secret, backend, library } = workerData as ThreadStart
const main = parentPort!
const identity = Identity.fromSecret(secret)
const post = (message: FromThread, moved: readonly MessagePort[] = []): void => main.postMessage(message, moved)

/** Addresses of this process are known at the other end. */
function dialLocal(address: string, credentials: LocalCredentials, name = 'the peer'): Transport {
  const { port1, port2 } = new MessageChannel()
  post({ kind: 'dial', address, credentials, port: port2 }, [port2])
  return new PortTransport(port1, () => gone(name))
}

const gone = (name: string): Error => sottoError('ERR_WORKER_LOST', `${name} is gone: its thread has ended`)

// Loaded for what it adds, as it is at the other end.
await import(library)
await ready(backend === null ? {} : { backend })

const dial = dialPeer({ dialLocal })
const host = new WorkerHost({ id, limits, identity, dial, ...(checkpoints === null ? {} : { checkpoints }) })
linksTo(host)

main.on('message', (message: ToThread) => {
  if (message.kind === 'close') close(message.within)
  else {
    const { credentials, port } = message
    const name = credentials.role === 'peer' ? credentials.capability.name : 'the caller'
    host.accept(new PortTransport(port, () => gone(name)), principalOf(host, credentials))
  }
})
post({ kind: 'up' })

/** Carries out what has come, within so many milliseconds, and ends the thread. */
async function close(within: number): Promise<void> {
  // Frames posted before are in the queues of their ports; within two turns of the event loop all have been handed out.
  for (let turn = 0; turn < 2; turn++) await new Promise<void>((resolve) => nextTurn(resolve))
  // Less than the other end waits before it ends the thread by force.
  await host.finish(0.9 * within)
  host.close()
  process.exit()
}
