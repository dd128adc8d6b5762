/** What a worker does for each message of private set intersection. A message without a handler does not compile. */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/backend.ts'
import type { Spec } from '../../tensor/shape.ts'
import { Tracked } from '../../tensor/tape.ts'
import { checkNew, checkRoom, storeTensor } from '../../worker/handlers/compute.ts'
import { recordCame, recordLeft, refuse, seeFailure } from '../../worker/handlers/disclosure.ts'
import type { HostSession } from '../../worker/host-session.ts'
import { addMessages, type MessageRow, type MessageRows } from '../../worker/messages.ts'
import { matchedFrom, mayMatch, maySee, refusedToMatch } from '../../worker/permissions.ts'
import type { Readable } from '../../worker/store.ts'
import { type Channel, orGiveUp } from '../channel.ts'
import { type IdSet, idsOfRows, MOST_NUMBERS } from '../ids.ts'
import { intersectInRing } from '../ring.ts'
import { intersectOver, type PsiResult } from '../two-party.ts'
import type { PsiMessage, PsiMessages, PsiReport } from './messages.ts'
import { runsOf } from './peer-channels.ts'
import { psiSchemas } from './schema.ts'

type RunRequest = PsiMessages['psiRun']['request']
type Outcome = Pick<PsiResult, 'size' | 'rows' | 'duplicates' | 'empty' | 'traffic'>

/** Which of the workers learn which ids are shared. */
const learners = ({ reveal, parties }: RunRequest): readonly string[] =>
  reveal === 'one' ? parties.slice(0, 1) : parties

/** Whether this worker learns it. */
const learns = (request: RunRequest): boolean =>
  request.reveal === 'both' || (request.reveal === 'one' && request.index === 0)

const rowsSpec = (size: number): Spec => ({ shape: [size], dtype: 'int32' })
const COUNT: Spec = { shape: [], dtype: 'int32' }

/**
 * Whether the ids may be matched: their owner must have named the workers that learn of it, who might be anybody under those
 * names, and whoever asks, who is told how many are shared.
 */
function checkAccess(session: HostSession, request: RunRequest, { access, tensor }: Readable): void {
  const others = learners(request).filter((name) => name !== session.host.id)
  if (mayMatch(access, session.name, others, (owner, name) => session.isKnown(owner, name))) return
  const spec = { shape: tensor.shape, dtype: tensor.dtype as Spec['dtype'] }
  refuse(session, 'intersect', spec, { access }, refusedToMatch(session.name, others, access))
}

function idsIn({ tensor }: Readable): IdSet {
  const [, columns = 1] = tensor.shape
  const isTable = tensor.rank === 1 || (tensor.rank === 2 && columns >= 1 && columns <= MOST_NUMBERS)
  if (!isTable) {
    throw sottoError(
      'ERR_SHAPE',
      `intersect: ids are a list, or a table of 1 to ${MOST_NUMBERS} columns; these are of shape [${tensor.shape}]`,
    )
  }
  if (tensor.dtype !== 'int32' && tensor.dtype !== 'float32') {
    throw sottoError('ERR_DTYPE', `intersect: ids are whole numbers, int32 or float32; these are ${tensor.dtype}`)
  }
  return idsOfRows(tensor.dataSync() as Int32Array | Float32Array, columns)
}

/** Runs the protocol of the sets with one other worker, or with those beside this one in a ring. */
function intersect(ids: IdSet, channels: readonly Channel[], request: RunRequest, patience: number): Promise<Outcome> {
  const { parties, index, reveal, protocol, padTo, timeout } = request
  const common = { reveal, protocol, timeout: timeout ?? patience, ...(padTo === null ? {} : { padTo }) }
  if (parties.length === 2) {
    const side = index === 0 ? 'first' : 'second'
    return intersectOver(channels[0]!, ids, { ...common, side, peer: parties[1 - index]! })
  }
  const [next, previous] = neighbours(request)
  return intersectInRing({ next: channels[0]!, previous: channels[1]! }, ids, {
    ...common,
    index,
    parties: parties.length,
    names: { next: next!, previous: previous! },
  })
}

/** The workers that this one talks to: the other one, or the next and the one before. */
function neighbours({ parties, index }: RunRequest): readonly string[] {
  const { length } = parties
  return length === 2
    ? [parties[1 - index]!]
    : [parties[(index + 1) % length]!, parties[(index + length - 1) % length]!]
}

async function run(session: HostSession, request: RunRequest): Promise<PsiReport> {
  const { parties, index, out } = request
  const { id, limits } = session.host
  if (parties[index] !== id) {
    throw sottoError('ERR_PARTIES', `owner ${index} is to be ${parties[index]}, and this is ${id}`)
  }
  const closing: (() => void)[] = []
  try {
    const channels = neighbours(request).map((name) => {
      const { channel, close } = runsOf(session).open(request.run, name)
      closing.push(close)
      return channel
    })
    const { ids, access, source } = await orGiveUp(channels, () => {
      const source = seeFailure(session, 'intersect', () => session.host.store.read(request.ids, session))
      checkAccess(session, request, source)
      checkNew(session, [out])
      const ids = idsIn(source)
      checkRoom(session, 'intersect', [rowsSpec(ids.size)])
      return { ids, access: source.access, source }
    })
    const outcome = await intersect(ids, channels, request, limits.peerTimeout)
    finish(session, request, outcome, source)
    const isSeen = maySee(access, session.name)
    return {
      size: outcome.size ?? null,
      duplicates: isSeen ? outcome.duplicates.length : null,
      empty: isSeen ? outcome.empty : null,
      bytesSent: outcome.traffic.bytesSent,
      turns: outcome.traffic.turns,
    }
  } finally {
    for (const close of closing) close()
  }
}

/** Stores what this worker learnt, and writes down who learnt what. */
function finish(session: HostSession, request: RunRequest, { size, rows }: Outcome, source: Readable): void {
  const { out, reveal, parties } = request
  const { access, failure } = source
  const { id } = session.host
  const others = parties.filter((name) => name !== id)
  const spec = reveal === 'size' || size === undefined ? COUNT : rowsSpec(size)
  for (const to of learners(request)) {
    if (to !== id) recordLeft(session, 'intersect', spec, { to, access })
  }
  if (size === undefined) return
  recordCame(session, 'intersect', spec, { from: others.join(' + '), how: 'intersected' })
  recordLeft(session, 'intersect', COUNT, { access })
  if (rows === undefined || !learns(request)) return
  const tensor = tf.keep(tf.tensor1d(Int32Array.from(rows), 'int32'))
  storeTensor(session, out, new Tracked(tensor), { access: matchedFrom(access), failure })
}

const handlers: {
  readonly [N in PsiMessage]: (
    session: HostSession,
    body: PsiMessages[N]['request'],
  ) => PsiMessages[N]['response'] | Promise<PsiMessages[N]['response']>
} = {
  psiRun: run,

  psiMessage(session, { run: name, message }) {
    const { principal } = session
    if (principal.role !== 'peer') throw sottoError('ERR_PERMISSION', 'only a peer takes part in an intersection')
    runsOf(principal.owner).take(name, session.name, message)
  },
}

const rows = (Object.keys(psiSchemas) as PsiMessage[]).map((name): [string, MessageRow] => [
  name,
  {
    schema: psiSchemas[name],
    handle: handlers[name] as MessageRow['handle'],
    isAsk: name === 'psiRun',
    isFromPeer: name === 'psiMessage',
    right: 'work',
  },
])
addMessages<PsiMessages>(Object.fromEntries(rows) as unknown as MessageRows<PsiMessages>)
