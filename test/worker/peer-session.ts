/** Sessions of peers, made by hand: what a worker says to another one, said by a test. */
import { newId } from '../../src/tensor/location.ts'
import { dialPeer } from '../../src/worker/dial.ts'
import { defaultLimits } from '../../src/worker/host.ts'
import type { HostSession } from '../../src/worker/host-session.ts'
import { Identity } from '../../src/worker/identity.ts'
import { type Frame, FrameKind, type PeerIntroduction } from '../../src/worker/protocol.ts'
import { callerSession, Session } from '../../src/worker/session.ts'
import { memoryPair } from '../../src/worker/transport/memory.ts'
import type { Transport } from '../../src/worker/transport/transport.ts'
import { Worker } from '../../src/worker/worker.ts'

/** A worker that does nothing but listen: what it is told of others is kept. */
class Listener extends Worker {
  readonly address = 'memory:nowhere'
  readonly key: string
  readonly heard: readonly Frame[]

  constructor(id: string, key: string) {
    const [ours, theirs] = memoryPair()
    const heard: Frame[] = []
    theirs.onFrame((frame) => heard.push(frame as Frame))
    super(id, 'me', callerSession(ours, 'me', id))
    this.heard = heard
    this.key = key
  }
  override as(): Worker {
    return this
  }
}

/** What the caller of a session says of its worker to a peer of this name and key. */
export function introductionTo(to: Worker, name: string, key: string): PeerIntroduction {
  const peer = new Listener(name, key)
  peer.reach(to)
  const said = peer.heard.find((frame) => frame[0] === FrameKind.request && frame[2] === 'peers')!
  return (said[3] as { peers: PeerIntroduction[] }).peers[0]!
}

/** A connection to the worker of a session, as a peer that its caller introduced there under this name. */
export function dialAsPeer(to: Worker, name: string): Transport {
  const identity = Identity.generate()
  const session = { host: { identity, limits: defaultLimits } } as HostSession
  return dialPeer()(session, introductionTo(to, name, identity.key))
}

/** A session of such a peer. */
export function peerSession(to: Worker, name: string): Session {
  return new Session(dialAsPeer(to, name), { name, worker: to.id, id: newId(), secret: null })
}
