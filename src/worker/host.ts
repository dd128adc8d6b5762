/**
 * The worker itself: takes sessions, carries their commands out in order, and talks to its peers.
 *
 * A command that must wait (for what a peer sends) holds up its own session and no other. Commands of one caller name
 * each other's results in the order in which they were issued, so waiting in order cannot lock up.
 */
import { isSottoError, type SottoErrorLike, sottoError } from '../errors.ts'
import type { tf } from '../tensor/backend.ts'
import type { Segment, Tracked } from '../tensor/tape.ts'
import { checkFrame } from './codec.ts'
import { Ledger } from './ledger.ts'
import { Mailbox } from './mailbox.ts'
import { messageRow } from './messages.ts'
import { type Access, mayMove, maySee, PUBLIC, refused } from './permissions.ts'
import {
  type ErrorWire,
  type Frame,
  FrameKind,
  type LinkStats,
  type RequestFrame,
  type WorkerStats,
} from './protocol.ts'
import { checkRequest } from './schema.ts'
import { Session } from './session.ts'
import { OperationFailed, Poison, Store } from './store.ts'
import type { Transport } from './transport/transport.ts'

export interface Limits {
  /** Elements of one tensor. */
  readonly elements: number
  /** Objects at a time. */
  readonly objects: number
  /** Milliseconds that a command waits for a peer. */
  readonly peerTimeout: number
  /** Deposits of peers that nobody has asked for yet. */
  readonly deposits: number
}

export const defaultLimits: Limits = { elements: 2 ** 28, objects: 1_000_000, peerTimeout: 60_000, deposits: 10_000 }

export interface HostOptions {
  readonly id: string
  readonly limits: Limits
  /** Connects to the address of a peer. */
  readonly dial: (address: string) => Transport
}

export class WorkerHost {
  readonly id: string
  readonly limits: Limits
  readonly store = new Store()
  readonly ledger = new Ledger()
  readonly mailbox: Mailbox
  readonly #dial: (address: string) => Transport
  readonly #sessions = new Set<HostSession>()
  readonly #peers = new Map<string, { session: Session; transport: Transport; name: string }>()

  constructor({ id, limits, dial }: HostOptions) {
    this.id = id
    this.limits = limits
    this.mailbox = new Mailbox(limits)
    this.#dial = dial
  }

  accept(transport: Transport): void {
    const session = new HostSession(this, transport)
    this.#sessions.add(session)
    transport.onClose(() => {
      this.#sessions.delete(session)
      session.end()
    })
  }

  /** Whether a session of an identity has introduced the worker at this address under this name. */
  knows(identity: string, peer: string, address: string): boolean {
    for (const { role, name, peers } of this.#sessions) {
      if (role === 'caller' && name === identity && peers.get(peer) === address) return true
    }
    return false
  }

  /** The link to a peer, dialled when it is first needed. */
  peer(name: string, address: string): Session {
    const known = this.#peers.get(address)
    if (known && !known.session.isClosed) return known.session
    const transport = this.#dial(address)
    const session = new Session(transport, { role: 'peer', name: this.id, worker: name })
    this.#peers.set(address, { session, transport, name })
    return session
  }

  stats(): WorkerStats {
    const links: LinkStats[] = []
    for (const { role, name, traffic } of this.#sessions) links.push({ role, name, ...traffic })
    for (const { name, transport } of this.#peers.values()) links.push({ role: 'peer', name, ...transport.traffic })
    const sum = (pick: (link: LinkStats) => number) => links.reduce((total, link) => total + pick(link), 0)
    const infos = this.store.infos()
    return {
      objects: infos.length,
      bytes: infos.reduce((total, { bytes }) => total + bytes, 0),
      links,
      framesIn: sum((link) => link.framesIn),
      framesOut: sum((link) => link.framesOut),
      bytesIn: sum((link) => link.bytesIn),
      bytesOut: sum((link) => link.bytesOut),
    }
  }

  close(): void {
    for (const session of [...this.#sessions]) session.close()
    for (const { session } of this.#peers.values()) session.close()
    this.#peers.clear()
    this.mailbox.clear()
    this.store.clear()
  }
}

/** A backward pass under way: gradients that have come to edges, and the graph to free at its end. */
export interface Pass {
  readonly gradients: Map<Tracked, tf.Tensor>
  readonly visited: Segment[]
  access: Access
  error: Poison | null
}

/** Acknowledge at least so often, so that a caller can forget where its commands were issued. */
const ACK_EVERY = 64
/** Backward passes that a session may have under way: one at a time is usual. */
const PASSES = 1024
/** Failures kept for a flush. */
const UNHEARD = 100

/** The worker's end of one session. */
export class HostSession {
  readonly host: WorkerHost
  readonly peers = new Map<string, string>()
  readonly #passes = new Map<string, Pass>()
  role: 'caller' | 'peer' = 'caller'
  /** Identity of the caller, or name of the peer. */
  name = ''
  #sessionId = ''
  /** The command being carried out. */
  #current = 0
  readonly #transport: Transport
  readonly #queue: RequestFrame[] = []
  #busy = false
  #ended = false
  #seq = 0
  /** Failures that the caller has not been told by a get, fetch or flush. */
  #unheard: { error: ErrorWire; isEffect: boolean }[] = []
  /** What goes on while later commands are carried out. */
  readonly #going = new Set<Promise<unknown>>()
  readonly #endListeners: (() => void)[] = []

  constructor(host: WorkerHost, transport: Transport) {
    this.host = host
    this.#transport = transport
    transport.onFrame((frame) => this.#receive(frame))
  }

  get traffic() {
    return this.#transport.traffic
  }
  get greeted(): boolean {
    return this.#sessionId !== ''
  }

  #receive(received: Frame | Error): void {
    if (this.#ended) return
    try {
      if (received instanceof Error) throw received
      const frame = checkFrame(received)
      if (frame[0] !== FrameKind.request) throw sottoError('ERR_PROTOCOL', 'a caller sends requests only')
      if (frame[1] !== this.#seq + 1) {
        throw sottoError('ERR_PROTOCOL', `request ${this.#seq + 1} was to come next, ${frame[1]} came`)
      }
      this.#seq = frame[1]
      if (this.#busy || this.#queue.length > 0) this.#queue.push(frame)
      else this.#handle(frame)
    } catch (error) {
      this.close(error as Error)
    }
  }

  /** Carries out one request; goes on with the queue when it had to wait. */
  #handle([, seq, name, body]: RequestFrame): void {
    this.#current = seq
    let results: readonly string[] = []
    let result: unknown
    try {
      const row = messageRow(name)
      if (row === undefined) throw sottoError('ERR_UNKNOWN_MESSAGE', 'there is no message of that name')
      if (!this.greeted && name !== 'hello') throw sottoError('ERR_PROTOCOL', 'the first message must be hello')
      if (this.role === 'peer' && this.greeted && !row.isFromPeer) {
        throw sottoError('ERR_PERMISSION', 'a peer may deposit, and nothing else')
      }
      const request = checkRequest(name, row.schema, body) as object
      results = resultsOf(request)
      result = row.handle(this, request)
    } catch (error) {
      return this.#fail(seq, name, results, error)
    }
    if (!(result instanceof Promise)) return this.#done(seq, result)
    this.#busy = true
    result
      .then(
        (value) => this.#done(seq, value),
        (error) => this.#fail(seq, name, results, error),
      )
      .then(() => {
        this.#busy = false
        while (!this.#busy && !this.#ended && this.#queue.length > 0) this.#handle(this.#queue.shift()!)
      })
      .catch((error) => this.close(error as Error))
  }

  #done(seq: number, result: unknown): void {
    if (this.#ended) return
    if (result !== undefined) this.#transport.send([FrameKind.reply, seq, result])
    else if (seq % ACK_EVERY === 0) this.#transport.send([FrameKind.ack, seq])
  }

  #fail(seq: number, name: string, results: readonly string[], thrown: unknown): void {
    if (this.#ended) return
    const error = this.#wire(thrown, seq)
    const access = thrown instanceof Poison || thrown instanceof OperationFailed ? thrown.access : PUBLIC
    for (const id of results) {
      if (this.host.store.has(id) || this.host.store.count >= this.host.limits.objects) continue
      this.host.store.add(id, { kind: 'failed', error, access, owner: this.name, session: this })
    }
    if (messageRow(name)?.isAsk === true) {
      if (!maySee(access, this.name)) {
        return this.#transport.send([FrameKind.failure, seq, this.#wire(refused(name, this.name, access), seq)])
      }
      this.#unheard = this.#unheard.filter(({ error: { origin } }) => origin !== error.origin)
      this.#transport.send([FrameKind.failure, seq, error])
    } else if (maySee(access, this.name)) {
      // Whether an operation on private values failed is itself something about the values.
      this.#transport.send([FrameKind.failure, seq, error])
      // What was built on a failure says nothing new; but what was to have an effect here, and had none, must be said.
      // What goes to a peer fails there: whoever waits for it there hears of it.
      const isEffect = results.length === 0 && name !== 'transfer' && name !== 'relay'
      const isNew = error.origin === this.originOf(seq)
      if (isNew || (isEffect && !this.#unheard.some(({ error: { origin } }) => origin === error.origin))) {
        this.#unheard.push({ error, isEffect })
        if (this.#unheard.length > UNHEARD) this.#unheard.shift()
      }
    } else {
      // Nothing, where a success would have been acknowledged, would tell too.
      this.#done(seq, undefined)
    }
    if (!this.greeted) this.close(isSottoError(thrown) ? thrown : undefined)
  }

  originOf(seq: string | number): string {
    return `${this.#sessionId}:${seq}`
  }

  /** An error as it travels: as the failure of the command being carried out, or of something else that is named. */
  wireOf(thrown: unknown, of: string | number = this.#current): ErrorWire {
    return this.#wire(thrown, of)
  }

  /** A failure that no command's answer tells of: says so at once, and to the next flush. */
  hear(error: ErrorWire): void {
    if (!this.#ended) this.#transport.send([FrameKind.failure, 0, error])
    if (this.#unheard.some(({ error: { origin } }) => origin === error.origin)) return
    this.#unheard.push({ error, isEffect: false })
    if (this.#unheard.length > UNHEARD) this.#unheard.shift()
  }

  #wire(thrown: unknown, seq: string | number): ErrorWire {
    if (thrown instanceof Poison) return thrown.error
    const cause = thrown instanceof OperationFailed ? thrown.cause : thrown
    const { code, message } = isSottoError(cause) ? (cause as SottoErrorLike) : UNKNOWN
    return { code, message, worker: this.host.id, origin: this.originOf(seq) }
  }

  greet(role: 'caller' | 'peer', name: string, sessionId: string): void {
    this.role = role
    this.name = name
    this.#sessionId = sessionId
  }

  /** Whether a value may go to a peer in clear: this session's identity, or the peer, must be allowed. */
  mayMoveTo(access: Access, to: string): boolean {
    return mayMove(access, this.name, to, (owner) => this.isKnown(owner, to))
  }

  /** Whether an identity means by a name the worker that this session means, or this very worker. */
  isKnown(owner: string, name: string): boolean {
    if (name === this.host.id) return true
    const address = this.peers.get(name)
    return address !== undefined && this.host.knows(owner, name, address)
  }

  /** The backward pass of a name, begun when it is first spoken of. */
  pass(name: string): Pass {
    let pass = this.#passes.get(name)
    if (pass === undefined) {
      if (this.#passes.size >= PASSES) {
        throw sottoError('ERR_LIMIT', `${PASSES} backward passes are under way in this session; no more fit`)
      }
      pass = { gradients: new Map(), visited: [], access: PUBLIC, error: null }
      this.#passes.set(name, pass)
    }
    return pass
  }

  /** Frees what a pass kept: its gradients, and the graph unless it is to stay. */
  endPass(name: string, retain: boolean): void {
    const pass = this.#passes.get(name)
    if (pass === undefined) return
    this.#passes.delete(name)
    for (const gradient of pass.gradients.values()) gradient.dispose()
    if (!retain) for (const segment of pass.visited) segment.free()
  }

  /** Throws a failure of a command that had no result to poison (backward, step, …) and that nobody has heard of. */
  raiseEffects(): void {
    const at = this.#unheard.findIndex(({ isEffect }) => isEffect)
    if (at < 0) return
    const [unheard] = this.#unheard.splice(at, 1)
    throw new Poison({ error: unheard!.error, access: [] })
  }

  /** Throws the first failure that nobody has heard of, and forgets the others. */
  raiseAll(): void {
    const [first] = this.#unheard.splice(0)
    if (first) throw new Poison({ error: first.error, access: [] })
  }

  /** Notes work that a handler has begun and not waited for; a flush waits for it. */
  goesOn(work: Promise<unknown>): void {
    const settled: Promise<unknown> = work.then(
      () => this.#going.delete(settled),
      () => this.#going.delete(settled),
    )
    this.#going.add(settled)
  }

  /** Waits until nothing that was begun before goes on. */
  async idle(): Promise<void> {
    while (this.#going.size > 0) await Promise.all(this.#going)
  }

  get isIdle(): boolean {
    return this.#going.size === 0
  }

  /** Calls back when the session has ended. */
  onEnd(listener: () => void): void {
    this.#endListeners.push(listener)
  }

  close(reason?: Error): void {
    this.#transport.close(reason)
  }

  end(): void {
    this.#ended = true
    for (const listener of this.#endListeners.splice(0)) listener()
    this.#queue.length = 0
    for (const name of [...this.#passes.keys()]) this.endPass(name, false)
    this.host.mailbox.endSession(this)
    this.host.store.endSession(this)
  }
}

/** An error that is not Sotto's may carry values in its message: nothing of it travels. */
const UNKNOWN = { code: 'ERR_OPERATION_FAILED', message: 'the operation failed' } as const

/** The ids that a checked request names for its results. */
function resultsOf(request: object): readonly string[] {
  if (!('out' in request)) return []
  return typeof request.out === 'string' ? [request.out] : (request.out as readonly string[])
}
