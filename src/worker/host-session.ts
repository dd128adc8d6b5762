/**
 * The worker's end of one session.
 *
 * A command that must wait (for what a peer sends) holds up its own session and no other. Commands of one caller name
 * each other's results in the order in which they were issued, so waiting in order cannot lock up.
 */
import { isSottoError, type SottoErrorLike, sottoError } from '../errors.ts'
import type { tf } from '../tensor/backend.ts'
import { newId } from '../tensor/location.ts'
import type { Segment, Tracked } from '../tensor/tape.ts'
import { checkFrame, payloadBytes } from './codec.ts'
import type { Principal, WorkerHost } from './host.ts'
import { Mailbox } from './mailbox.ts'
import { type MessageRow, messageRow } from './messages.ts'
import { type Access, mayMove, maySee, PUBLIC, refused } from './permissions.ts'
import {
  type Deposit,
  type ErrorWire,
  type Frame,
  FrameKind,
  type LinkStats,
  type PeerIntroduction,
  type RequestFrame,
} from './protocol.ts'
import { checkRequest } from './schema.ts'
import { Session, waiting } from './session.ts'
import { OperationFailed, Poison } from './store.ts'
import type { Following, Transport } from './transport/transport.ts'
import { Tunnels } from './transport/tunnel.ts'

/** A backward pass under way: gradients that have come to edges, and the graph to free at its end. */
export interface Pass {
  readonly gradients: Map<Tracked, tf.Tensor>
  readonly visited: Segment[]
  access: Access
  error: Poison | null
}

/** Acknowledge at least so often, so that a caller can forget where its commands were issued, and send more. */
const ACK_EVERY = 64
const ACK_BYTES = 2 ** 20
/** Backward passes that a session may have under way: one at a time is usual. */
const PASSES = 1024
/** Failures kept for a flush. */
const UNHEARD = 100
/** Bytes of answers that may wait to be sent; beyond, commands wait. */
const BACKLOG = 256 * 2 ** 20
/** Bytes of commands that may wait to be carried out, besides one that is larger. */
const QUEUED = 256 * 2 ** 20

/**
 * Commands that only bring something: while their bytes are still under way, others that do not speak of it go ahead.
 * Of each, the ids that it brings.
 */
const bringing: Readonly<Record<string, readonly string[]>> = {
  put: ['out', 'edge'],
  putModel: ['out', 'optimizers'],
  deposit: [],
}
/** Commands that look at what is there by other means than ids, or wait for all before them. */
const looking: ReadonlySet<string> = new Set(['flush', 'search', 'objects'])

interface Link {
  readonly name: string
  /** See {@link linkName}. */
  readonly at: string
  readonly session: Session
  readonly transport: Transport
}

export class HostSession {
  readonly host: WorkerHost
  readonly principal: Principal
  readonly peers = new Map<string, PeerIntroduction>()
  readonly #links = new Map<string, Link>()
  /** Sessions of peers that hand things to this one. */
  readonly #inbound = new Set<HostSession>()
  readonly #mailbox: Mailbox
  readonly #tunnels: Tunnels
  readonly #passes = new Map<string, Pass>()
  /** Identity of the caller, or name of the peer. */
  name = ''
  /** Chosen by the caller; empty until it says hello. */
  id = ''
  /** What the capabilities for this session are made from. */
  secret: Uint8Array | null = null
  /** The command being carried out. */
  #current = 0
  #currentName = ''
  readonly #transport: Transport
  readonly #queue: RequestFrame[] = []
  /** Commands whose bytes are under way, with the ids that they bring. */
  readonly #arriving = new Map<number, ReadonlySet<string>>()
  #queuedBytes = 0
  /** The same, and those of commands that are on their way: what this session has of what the host counts. */
  #waitingBytes = 0
  #busy = false
  #ended = false
  #seq = 0
  #ackedBytes = 0
  /** Failures that the caller has not been told by a get, fetch or flush. */
  #unheard: { error: ErrorWire; isEffect: boolean; links?: readonly Session[] }[] = []
  /** What goes on while later commands are carried out. */
  readonly #going = new Set<Promise<unknown>>()
  readonly #endListeners: (() => void)[] = []

  constructor(host: WorkerHost, transport: Transport, principal: Principal) {
    this.host = host
    this.principal = principal
    this.#transport = transport
    this.#mailbox = new Mailbox(host.limits, host.mailboxCount, () => this.#seq)
    this.#tunnels = new Tunnels(transport)
    transport.onFrame((frame, following) => this.#receive(frame, following))
  }

  get role(): 'caller' | 'peer' {
    return this.principal.role
  }
  get traffic() {
    return this.#transport.traffic
  }
  get greeted(): boolean {
    return this.id !== ''
  }
  /** Commands that wait for their turn. */
  get queued(): number {
    return this.#queue.length + (this.#busy ? 1 : 0)
  }
  /** Bytes of answers that wait to be sent. */
  get unsent(): number {
    return this.#transport.backlog
  }
  /** What passes this session's connection for somebody else. */
  get tunnels(): Tunnels {
    return this.#tunnels
  }

  #receive(received: Frame | Error, following?: Following): void {
    if (this.#ended) return
    try {
      if (received instanceof Error) throw received
      const frame = checkFrame(received)
      if (frame[0] === FrameKind.tunnel) {
        if (this.role !== 'caller') throw sottoError('ERR_PROTOCOL', 'tunnels pass callers only')
        return this.#tunnels.take(frame, (_, accept) => this.host.onTunnel(this, accept))
      }
      if (frame[0] !== FrameKind.request) throw sottoError('ERR_PROTOCOL', 'a caller sends requests only')
      if (frame[1] !== this.#seq + 1) {
        throw sottoError('ERR_PROTOCOL', `request ${this.#seq + 1} was to come next, ${frame[1]} came`)
      }
      this.#seq = frame[1]
      if (following !== undefined) this.#await(frame, following)
      else this.#take(frame)
    } catch (error) {
      this.close(error as Error)
    }
  }

  /** Carries a command out, or keeps it for its turn. */
  #take(frame: RequestFrame): void {
    if (this.#busy || this.#queue.length > 0 || this.#isHeldUp(frame)) this.#hold(frame)
    else this.#handle(frame)
  }

  /** Keeps a command for its turn. A caller that keeps to its window never has so much before it. */
  #hold(frame: RequestFrame): void {
    const { inFlight } = this.host.limits
    // Of those beyond the limit, what is needed to refuse them is kept; and of that no more than of the others.
    if (this.#queue.length >= 2 * inFlight) {
      throw sottoError('ERR_LIMIT', `${this.#queue.length} commands of this session wait; no more fit`)
    }
    const kept =
      this.#queue.length < inFlight
        ? this.#within(frame, payloadBytes(frame))
        : refusing(frame, `${inFlight} commands of this session waited; no more fit`)
    const bytes = payloadBytes(kept)
    this.#count(bytes)
    this.#queuedBytes += bytes
    if (this.#queue.length > 0 && this.#queuedBytes > QUEUED)
      throw sottoError('ERR_LIMIT', `${QUEUED} bytes of commands wait; no more fit`)
    this.#queue.push(kept)
  }

  /** A command, or where its bytes do not fit among those that wait on this worker, what is needed to refuse it. */
  #within(frame: RequestFrame, bytes: number): RequestFrame {
    const { waitingBytes: most } = this.host.limits
    const before = this.host.waitingBytes
    // One that is larger than all that may wait fits where nothing does.
    if (bytes === 0 || before === 0 || before + bytes <= most) return frame
    return refusing(
      frame,
      `commands of all sessions wait, of ${most} bytes at most, and ${bytes} more do not fit`,
      'out',
    )
  }

  #count(bytes: number): void {
    this.#waitingBytes += bytes
    this.host.waitingBytes += bytes
  }

  /** Sets a command aside until all of it is there. */
  #await(frame: RequestFrame, following: Following): void {
    const { total } = following
    const kept = this.#within(frame, total)
    if (kept !== frame) {
      following.drop()
      return this.#take(kept)
    }
    this.#count(total)
    const [, seq, name, body] = frame
    const goesFirst = Object.hasOwn(bringing, name) && this.greeted
    this.#arriving.set(seq, goesFirst ? idsOf(body, bringing[name]!) : new Set())
    if (!goesFirst) this.#busy = true
    following.whole.then(
      () => {
        if (this.#ended) return
        this.#arriving.delete(seq)
        if (!goesFirst) this.#busy = false
        this.#queue.unshift(frame)
        const bytes = payloadBytes(frame)
        this.#queuedBytes += bytes
        this.#count(bytes - total)
        this.#goOn()
      },
      (error: Error) => this.close(error),
    )
  }

  /** Carries out what waits, as far as nothing holds it up. */
  #goOn(): void {
    while (!this.#busy && !this.#ended) {
      const next = this.#queue[0]
      if (next === undefined || this.#isHeldUp(next)) return
      this.#queue.shift()
      const bytes = payloadBytes(next)
      this.#queuedBytes -= bytes
      this.#count(-bytes)
      this.#handle(next)
    }
  }

  /** Whether a command speaks of what is still under way. */
  #isHeldUp([, , name, body]: RequestFrame): boolean {
    if (this.#arriving.size === 0) return false
    return looking.has(name) || [...this.#arriving.values()].some((ids) => mentions(body, ids))
  }

  /** Carries out one request; goes on with the queue when it had to wait. */
  #handle([, seq, name, body]: RequestFrame): void {
    this.#current = seq
    this.#currentName = name
    let results: readonly string[] = []
    let result: unknown
    try {
      const row = messageRow(name)
      if (row === undefined) throw sottoError('ERR_UNKNOWN_MESSAGE', 'there is no message of that name')
      this.#checkMay(name, row)
      if (body instanceof Over) {
        results = body.results
        throw sottoError('ERR_LIMIT', body.message)
      }
      const request = checkRequest(name, row.schema, body) as object
      results = resultsOf(request)
      for (const observer of this.host.observers) observer.handled(name)
      result = row.handle(this, request)
    } catch (error) {
      this.#fail(seq, name, results, error)
      return this.#slowDown()
    }
    if (!(result instanceof Promise)) {
      this.#done(seq, name, result)
      return this.#slowDown()
    }
    this.#waitFor(
      result
        .then(
          (value) => this.#done(seq, name, value),
          (error) => this.#fail(seq, name, results, error),
        )
        .then(() => this.#drained()),
    )
  }

  /** Goes on when answers, failures too, have left. */
  #slowDown(): void {
    const drained = this.#drained()
    if (drained !== undefined) this.#waitFor(drained)
  }
  #drained(): Promise<void> | undefined {
    const { backlog } = this.#transport
    if (backlog <= BACKLOG && !this.host.isClogged(backlog)) return undefined
    return new Promise((resolve) => this.#transport.onDrain(resolve))
  }

  #waitFor(work: Promise<unknown>): void {
    this.#busy = true
    work
      .then(() => {
        this.#busy = false
        this.#goOn()
      })
      .catch((error) => this.close(error as Error))
  }

  #checkMay(name: string, { isFromPeer, right }: MessageRow): void {
    const { principal } = this
    if (!this.greeted && name !== 'hello') throw sottoError('ERR_PROTOCOL', 'the first message must be hello')
    if (principal.role === 'peer' && this.greeted && !isFromPeer) {
      throw sottoError('ERR_PERMISSION', 'a peer may deposit, and nothing else')
    }
    if (principal.role !== 'caller' || right === null) return
    const needed = [right].flat()
    if (!needed.some((one) => principal.rights.includes(one))) {
      this.recordForeign()
      throw sottoError('ERR_PERMISSION', `${name}: ${this.name} has no right to ${needed[0]} on ${this.host.id}`)
    }
  }

  #done(seq: number, name: string, result: unknown): void {
    if (this.#ended) return
    const { bytesIn } = this.#transport.traffic
    if (result !== undefined) this.#reply(seq, name, result)
    else if (
      seq % ACK_EVERY === 0 ||
      bytesIn - this.#ackedBytes > ACK_BYTES ||
      // In process the caller notes where later commands were issued as long as it does not know that this one is done.
      (this.#transport.isSynchronous && Object.hasOwn(waiting, name))
    ) {
      this.#ackedBytes = bytesIn
      const [first = seq + 1] = this.#arriving.keys()
      if (first > 1) this.#transport.send([FrameKind.ack, Math.min(seq, first - 1)])
    }
  }

  /** Answers; where that cannot be sent, because the other end takes none so large, it says so. */
  #reply(seq: number, name: string, result: unknown): void {
    try {
      this.#transport.send([FrameKind.reply, seq, result])
    } catch (error) {
      this.#fail(seq, name, [], error)
    }
  }

  #fail(seq: number, name: string, results: readonly string[], thrown: unknown): void {
    if (this.#ended) return
    const error = this.#wire(thrown, seq)
    for (const observer of this.host.observers) observer.failed(this, name, error)
    const access = thrown instanceof Poison || thrown instanceof OperationFailed ? thrown.access : PUBLIC
    const { store, limits } = this.host
    for (const id of results) {
      if (store.has(id) || store.count >= limits.objects) continue
      if (store.usedBy(this.name).objects >= limits.identityObjects) continue
      store.add(id, { kind: 'failed', error, access, owner: this.name, session: this })
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
      this.#done(seq, name, undefined)
    }
    if (!this.greeted) this.close(isSottoError(thrown) ? thrown : undefined)
  }

  originOf(seq: string | number): string {
    return `${this.id}:${seq}`
  }

  /** An error as it travels: as the failure of the command being carried out, or of something else that is named. */
  wireOf(thrown: unknown, of: string | number = this.#current): ErrorWire {
    return this.#wire(thrown, of)
  }

  /**
   * A failure that no command's answer tells of: says so at once, and to the next flush.
   *
   * @param links what it came of: when a peer at the end of one was introduced anew, no flush need tell of it any more
   */
  hear(error: ErrorWire, links: readonly Session[] = []): void {
    if (!this.#ended) this.#transport.send([FrameKind.failure, 0, error])
    if (this.#unheard.some(({ error: { origin } }) => origin === error.origin)) return
    this.#unheard.push({ error, isEffect: false, links })
    if (this.#unheard.length > UNHEARD) this.#unheard.shift()
  }

  #wire(thrown: unknown, seq: string | number): ErrorWire {
    if (thrown instanceof Poison) return thrown.error
    const cause = thrown instanceof OperationFailed ? thrown.cause : thrown
    const { code, message } = isSottoError(cause) ? (cause as SottoErrorLike) : UNKNOWN
    return { code, message, worker: this.host.id, origin: this.originOf(seq) }
  }

  /** Writes down that this session asked for what is not for it. */
  recordForeign(): void {
    const { id, ledger } = this.host
    const [from, to, why] = [id, this.name, `asked by ${this.name}`]
    const nothing = { shape: [], dtype: 'float32', tags: [], bytes: 0 } as const
    ledger.record({ event: 'refused', operation: this.#currentName, from, to, why, ...nothing })
  }

  /**
   * Begins the session.
   *
   * @throws AccessError `ERR_IDENTITY` when the name is not that of who was found to be at the other end
   */
  greet(name: string, id: string, secret: Uint8Array | null): void {
    const { principal } = this
    const known = principal.role === 'peer' ? principal.name : principal.identity
    if (known !== null && known !== name) {
      throw sottoError('ERR_IDENTITY', `${known} cannot have a session as ${name}`)
    }
    if (principal.role === 'caller' && known === null && this.host.isOwner(name)) {
      throw sottoError('ERR_IDENTITY', `${name} owns data here, and nobody is taken for its owner at their word`)
    }
    this.name = name
    this.id = id
    this.secret = secret
    try {
      if (principal.role === 'caller') this.host.greeted(this)
      else principal.owner.#found(name, this)
    } catch (error) {
      this.id = ''
      throw error
    }
    for (const observer of this.host.observers) observer.began(this)
  }

  /** A peer has come to hand things over. */
  #found(name: string, peer: HostSession): void {
    if (this.#ended) return peer.close(this.#hasEnded())
    this.#mailbox.found(name)
    this.#inbound.add(peer)
  }

  /** Whether a value may go to a peer in clear: this session's identity, or the peer, must be allowed. */
  mayMoveTo(access: Access, to: string): boolean {
    return mayMove(access, this.name, to, (owner) => this.isKnown(owner, to))
  }

  /** Whether an identity means by a name the worker that this session means, or this very worker. */
  isKnown(owner: string, name: string): boolean {
    const peer = this.peers.get(name)
    if (name === this.host.id) return peer === undefined || peer.key === this.host.identity.key
    return peer !== undefined && this.host.knows(owner, name, peer.key)
  }

  /**
   * The link to a peer that was introduced, dialled when it is first needed.
   *
   * @throws PlacementError `ERR_UNKNOWN_PEER` for one that was not
   */
  linkTo(to: string): Session {
    const peer = this.peers.get(to)
    if (peer === undefined) {
      throw sottoError('ERR_UNKNOWN_PEER', `${this.host.id} was not introduced to ${to}; addWorkers([…]) does it`)
    }
    const at = linkName(peer)
    const known = this.#links.get(at)
    if (known !== undefined && !known.session.isClosed) return known.session
    const transport = this.host.dial(this, peer)
    const session = new Session(transport, { name: peer.capability.name, worker: to, id: newId(), secret: null })
    this.#links.set(at, { name: to, at, session, transport })
    // What the peer refuses, or never got, its sender hears of.
    session.onFailure((_, error) => this.hear(this.#wire(error, `${to}`)))
    session.onClose((reason) => {
      // One that has left on purpose was told so by its own caller.
      const isBroken = isSottoError(reason) && reason.code !== 'ERR_SESSION_CLOSED'
      if (!isBroken || this.#ended) return
      this.hear(this.#wire(reason, `${to}`), [session])
      // It may have nobody to dial with either.
      if (this.peers.get(to) === peer) this.#lose(to, reason)
    })
    return session
  }

  /**
   * Whether the caller has introduced the peer of a link anew since: when a worker was lost and another has its place, the
   * caller knows, and what it does now is not to fail by that.
   */
  #isPast(link: Session): boolean {
    for (const { name, at, session } of this.#links.values()) {
      if (session !== link) continue
      const peer = this.peers.get(name)
      return peer !== undefined && linkName(peer) !== at
    }
    return false
  }

  /** Whether what goes to a peer passes somebody else, sealed. */
  goesRelayed(to: string | undefined): boolean {
    const peer = to === undefined ? undefined : this.peers.get(to)
    if (peer === undefined) return false
    return peer.address === null || this.#links.get(linkName(peer))?.transport.isRelayed === true
  }
  /** Calls back if it turns out so when the link to a peer, over which something goes now, begins only later. */
  whenRelayed(to: string, action: () => void): void {
    if (!this.peers.has(to)) return
    this.linkTo(to)
    const { transport } = this.#links.get(linkName(this.peers.get(to)!))!
    transport.onBegin?.(() => {
      if (transport.isRelayed) action()
    })
  }
  /** Whether what comes from a peer has passed somebody else, sealed. */
  comesRelayed(from: string | undefined): boolean {
    return [...this.#inbound].some((peer) => peer.name === from && peer.#transport.isRelayed === true)
  }

  /** Traffic of the links to peers. */
  links(): LinkStats[] {
    return [...this.#links.values()].map(({ name, transport }) => ({ role: 'peer', name, ...transport.traffic }))
  }

  /** What a peer hands over; at the session of a peer, for the session that it came for. */
  put(key: string, from: string, content: Deposit): void {
    if (this.principal.role === 'peer') this.principal.owner.put(key, from, content)
    else this.#mailbox.put(key, from, content)
  }

  /** What came from a peer under a key, now or later; see {@link Mailbox.take}. */
  take(key: string, from: string): Deposit | Promise<Deposit> {
    return this.#mailbox.take(key, from, this.#current)
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
    const first = this.#unheard.splice(0).find(({ links = [] }) => !links.some((link) => this.#isPast(link)))
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

  /** Waits until what came so far is carried out, and its answers are on their way. */
  async finished(): Promise<void> {
    while (
      !this.#ended &&
      (this.#busy || this.#queue.length > 0 || this.#going.size > 0 || this.#transport.backlog > 0)
    ) {
      await new Promise((resolve) => setTimeout(resolve, POLL))
    }
  }

  /** Calls back when the session has ended. */
  onEnd(listener: () => void): void {
    this.#endListeners.push(listener)
  }

  close(reason?: Error): void {
    // What goes through this connection is told first.
    for (const { session } of this.#links.values()) session.close()
    for (const peer of [...this.#inbound]) peer.close(this.#hasEnded())
    this.#transport.close(reason)
  }

  end(reason: Error | undefined): void {
    this.#ended = true
    this.#mailbox.end()
    for (const listener of this.#endListeners.splice(0)) listener()
    for (const { session } of this.#links.values()) session.close()
    for (const peer of this.#inbound) peer.close(this.#hasEnded())
    this.#tunnels.end()
    this.#queue.length = 0
    this.#count(-this.#waitingBytes)
    for (const name of [...this.#passes.keys()]) this.endPass(name, false)
    this.host.store.endSession(this)
    if (this.principal.role === 'peer') this.principal.owner.#lost(this, reason)
  }

  #hasEnded(): Error {
    return sottoError('ERR_SESSION_CLOSED', `the session on ${this.host.id} has ended`)
  }

  /** A peer's session has ended. */
  #lost(peer: HostSession, reason: Error | undefined): void {
    this.#inbound.delete(peer)
    this.#lose(peer.name, reason)
  }

  /** Waits no more for a peer, unless there is another session of its own. */
  #lose(name: string, reason: Error | undefined): void {
    if ([...this.#inbound].some((other) => other.name === name)) return
    const code = isSottoError(reason) ? reason.code : 'ERR_SESSION_CLOSED'
    this.#mailbox.lose(name, sottoError(code, `${name} is gone${reason ? `: ${reason.message}` : ''}`, { from: name }))
  }

  /** Notes how a peer is reached, from now on. */
  introduce(peer: PeerIntroduction): void {
    this.peers.set(peer.name, peer)
    this.#mailbox.found(peer.name)
  }
}

/** The body of a command that came when too much waited. */
class Over {
  readonly message: string
  readonly results: readonly string[]
  constructor(message: string, results: readonly string[]) {
    this.message = message
    this.results = results
  }
}

/** A command of which is kept why it is refused, and the ids in some of its fields, which will stand for the failure. */
function refusing([kind, seq, name, body]: RequestFrame, message: string, ...fields: readonly string[]): RequestFrame {
  const results = [...idsOf(body, fields)].filter((id) => /^[\w-]{1,64}$/.test(id))
  return [kind, seq, name, new Over(message, results)]
}

/** One link for each session of the caller's with a peer, and whoever was introduced: what was meant for one goes to no other. */
const linkName = ({ name, address, key, capability: { session } }: PeerIntroduction): string =>
  JSON.stringify([name, session, key, address])

/** Milliseconds between looks at what is still going on. */
const POLL = 5

/** An error that is not Sotto's may carry values in its message: nothing of it travels. */
const UNKNOWN = { code: 'ERR_OPERATION_FAILED', message: 'the operation failed' } as const

/** The ids that a checked request names for its results. */
function resultsOf(request: object): readonly string[] {
  if (!('out' in request)) return []
  return typeof request.out === 'string' ? [request.out] : (request.out as readonly string[])
}

/** The ids in some fields of a request that nobody has checked yet. */
function idsOf(body: unknown, fields: readonly string[]): ReadonlySet<string> {
  const record = (typeof body === 'object' && body !== null ? body : {}) as Record<string, unknown>
  return new Set(fields.flatMap((field) => record[field]).filter((id) => typeof id === 'string'))
}

/** Whether some of the ids stand anywhere in a request, by themselves or with a `#`. */
function mentions(value: unknown, ids: ReadonlySet<string>): boolean {
  if (typeof value === 'string') return ids.has(value.split('#', 1)[0]!)
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return false
  return Object.values(value).some((item) => mentions(item, ids))
}
