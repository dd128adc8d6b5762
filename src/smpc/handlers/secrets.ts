/** Messages that make, compute on, and open secrets. */
import { sottoError } from '../../errors.ts'
import { tf } from '../../tensor/engine.ts'
import { type Shape, type Spec, showShape } from '../../tensor/shape.ts'
import { Tracked } from '../../tensor/tape.ts'
import { checkNew, checkRoom, storeTensor } from '../../worker/handlers/compute.ts'
import { recordCame, recordOpened, recordShared, refuse } from '../../worker/handlers/disclosure.ts'
import { deliver, failedDeposit, failureIn } from '../../worker/handlers/transfer.ts'
import type { HostSession } from '../../worker/host-session.ts'
import {
  type Access,
  accessFrom,
  accessOf,
  combine,
  lackingConsent,
  maySee,
  mayShare,
  plainAccess,
  refusedToShare,
} from '../../worker/permissions.ts'
import type { Deposit } from '../../worker/protocol.ts'
import { Poison } from '../../worker/store.ts'
import { consentsOf } from '../consents.ts'
import { FixedPrecisionTensor } from '../fixed-precision.ts'
import type { SecretHandlers } from '../handlers.ts'
import { membersOf } from '../members.ts'
import type { ShareWire } from '../messages.ts'
import { Party } from '../party.ts'
import { checkParties, protocolOf } from '../protocols/index.ts'
import type { Share } from '../protocols/protocol.ts'
import { ring } from '../ring/choose.ts'
import type { RingBits } from '../ring/kernels.ts'
import { ringTensor, roomFor } from '../ring/tensor.ts'
import { sourceOf, specFor } from '../stored-fixed.ts'
import { shareFrom, sharesOf } from '../stored-share.ts'
import { partyOf, together } from './groups.ts'

type ShareDeposit = Extract<Deposit, { kind: 'share' }>

export const secretHandlers: SecretHandlers<
  | 'secretPut'
  | 'secretRandom'
  | 'secretShare'
  | 'secretTake'
  | 'secretRun'
  | 'secretGet'
  | 'secretOpen'
  | 'secretReceive'
> = {
  secretPut(session, { group, out, share, privacy }) {
    const party = partyOf(session, group)
    together(party, () => {
      checkNewShare(party, 'share', out, share.shape)
      party.store(out, share.shape, shareIn(party, share), { access: accessOf(privacy, session.name) })
    })
  },

  secretRandom(session, { group, seq, out, shape }) {
    const party = partyOf(session, group)
    together(party, () => {
      checkNewShare(party, 'sharedRandom', out, shape)
      party.random(seq, out, shape)
    })
  },

  secretShare(session, { group, protocol, id, encoding, to, provider }) {
    const names = to.map(({ name }) => name)
    checkClaims(session, group, { protocol, ring: encoding.ring, names, provider })
    const others = [...names, ...(provider === null ? [] : [provider])].filter((name) => name !== session.host.id)
    let failed: Error | null = null
    try {
      const source = sourceOf(session, 'share', id, encoding)
      const { access, tags } = source
      const spec = specFor(encoding, source.shape)
      if (!mayShare(access, others, (owner, name) => session.isKnown(owner, name))) {
        refuse(session, 'share', spec, { to: names.join(' + '), access, tags }, refusedToShare(others, access))
      }
      const { value, failure, failed: now } = source.encode()
      failed = now
      recordShared(session, spec, { parties: names, provider, tags })
      const shares = sharesOf(value, to.length, protocolOf(protocol))
      // Whoever gets a share can tell whether its group is the one that was meant.
      const members = access.length === 0 ? [] : others.map((name) => ({ name, key: session.peers.get(name)!.key }))
      to.forEach(({ name, key }, i) => {
        const deposit = { kind: 'share', ...shares[i]!, members, access: plainAccess(access) } as const
        hand(session, name, key, failure === null ? deposit : { ...deposit, failure })
      })
    } catch (thrown) {
      for (const { name, key } of to) hand(session, name, key, failedDeposit(session, thrown))
      throw thrown
    }
    if (failed !== null) throw failed
  },

  async secretTake(session, { group, from, key, out, shape }) {
    const party = partyOf(session, group)
    party.check()
    const deposit = await session.take(key, from)
    if (deposit.kind === 'failed') throw failureIn(deposit)
    together(party, () => {
      if (deposit.kind !== 'share' || showShape(deposit.shape) !== showShape(shape)) {
        throw sottoError('ERR_OUT_OF_STEP', `${from} sent no share of shape ${showShape(shape)}`)
      }
      const access = accessFrom(deposit.access)
      checkGroup(session, party, from, deposit, access)
      checkNewShare(party, 'share', out, shape)
      party.store(out, shape, shareIn(party, deposit), { access, failure: deposit.failure ?? null })
    })
  },

  secretRun(session, body) {
    const party = partyOf(session, body.group)
    together(party, () => {
      try {
        checkNew(session, body.out)
        party.run(body)
      } catch (error) {
        // What failed before it began: the randomness that was dealt for it is of no use.
        party.drop(body)
        throw error
      }
    })
  },

  async secretGet(session, { group, seq, id, encoding }) {
    const party = partyOf(session, group)
    const [stored, draws] = together(party, () => {
      const drawn = party.beginAlone(seq)
      return [party.share(id), drawn] as const
    })
    const { failure } = stored
    const access = consentsOf(session.host).over(stored.access)
    const spec = specFor(encoding, stored.shape)
    if (!maySee(access, session.name)) refuseOpening(session, spec, { access })
    if (failure !== null) throw new Poison({ error: failure, access })
    const answer = await party.outward(draws, stored)
    recordOpened(session, spec, { parties: party.options.parties, access })
    return answer
  },

  async secretOpen(session, { group, seq, id, to, key, encoding }) {
    const party = partyOf(session, group)
    try {
      const [stored, draws] = together(party, () => {
        const drawn = party.beginAlone(seq)
        return [party.share(id), drawn] as const
      })
      const { shape, failure } = stored
      const access = consentsOf(session.host).over(stored.access)
      const spec = specFor(encoding, shape)
      if (!session.mayMoveTo(access, to)) refuseOpening(session, spec, { to, access })
      const { data } = await party.outward(draws, stored)
      recordOpened(session, spec, { parties: party.options.parties, to, access })
      const deposit = { kind: 'share', shape, data, members: [], access: plainAccess(access) } as const
      hand(session, to, key, failure === null ? deposit : { ...deposit, failure })
    } catch (thrown) {
      hand(session, to, key, failedDeposit(session, thrown))
      throw thrown
    }
  },

  async secretReceive(session, { from, out, shape, encoding, labels }) {
    const deposits = await Promise.all(from.map(async ({ name, key }) => session.take(key, name)))
    const failed = deposits.find((deposit) => deposit.kind === 'failed')
    if (failed?.kind === 'failed') throw failureIn(failed)
    const opened = deposits.flatMap((deposit) => (deposit.kind === 'share' ? [deposit] : []))
    if (opened.length !== from.length || opened.some((piece) => showShape(piece.shape) !== showShape(shape))) {
      throw sottoError('ERR_OUT_OF_STEP', `shares of a secret of shape ${showShape(shape)} were expected`)
    }
    const { ring: bits } = encoding
    const spec = specFor(encoding, shape)
    checkRoom(session, 'reveal', [spec])
    checkNew(session, [out])
    const words = opened.map((piece) => shareFrom(bits, piece)[0]!.data).reduce((a, b) => ring(bits).add(a, b))
    const access = opened.map((piece) => accessFrom(piece.access)).reduce(combine)
    const failure = opened.find((piece) => piece.failure !== undefined)?.failure ?? null
    const value = failure
      ? tf.zeros([...shape], encoding.dtype)
      : new FixedPrecisionTensor(ringTensor(bits, shape, words), encoding).floatPrecision()
    recordCame(session, 'reveal', spec, { from: from.map(({ name }) => name).join(' + '), how: 'opened' })
    storeTensor(session, out, new Tracked(tf.keep(value)), { access, labels, failure })
  },
}

/** Refuses to open a secret: for want of consent, where policies on it ask for that. */
function refuseOpening(session: HostSession, spec: Spec, details: { to?: string; access: Access }): never {
  const { to = session.name, access } = details
  const lacking = lackingConsent(access, to)
  if (lacking === null || lacking.owners.length === 0) refuse(session, 'reveal', spec, details)
  const { owners, jobs } = lacking
  const [job] = jobs
  const message = `reveal: ${owners.join(', ')} did not consent to ${to} seeing what came of the job "${job}"; each gives consent with giveConsent(parties, { job: '${job}', to: '${to}' })`
  refuse(session, 'reveal', spec, details, sottoError('ERR_CONSENT', message, { owners, job, to }))
}

function checkNewShare({ session, options }: Party, operation: string, out: string, shape: Shape): void {
  checkRoom(session, operation, [roomFor(options.ring)(shape)])
  checkNew(session, [out])
}

/** Hands something over under a key: to a peer, or to this worker itself. */
export function hand(session: HostSession, to: string, key: string, content: Deposit): void {
  if (to === session.host.id) session.put(key, to, content)
  else deliver(session, to, key, content)
}

/** A share as it came, of as many components as this party holds. */
function shareIn(party: Party, wire: ShareWire): Share {
  const share = shareFrom(party.options.ring, wire)
  if (share.length === party.held.length) return share
  throw sottoError('ERR_OUT_OF_STEP', `a share of ${party.options.protocol.name} has ${party.held.length} components`)
}

interface Claims {
  readonly protocol: string
  readonly ring: RingBits
  readonly names: readonly string[]
  readonly provider: string | null
}

/** Where this worker is a party itself, it knows who the others are, and need not take a caller's word for it. */
function checkClaims(session: HostSession, id: string, { protocol, ring: bits, names, provider }: Claims): void {
  if (new Set([...names, provider]).size !== names.length + 1) {
    throw sottoError('ERR_PARTIES', 'share: each party, and the provider, is a worker of its own')
  }
  checkParties(protocolOf(protocol), names.length, provider !== null)
  const member = membersOf(session.host).find(id)
  if (!(member instanceof Party)) return
  const { parties: known, provider: dealer, protocol: mine } = member.options
  const isSame = known.length === names.length && known.every((name, i) => name === names[i])
  if (dealer === provider && mine.name === protocol && member.options.ring === bits && isSame) return
  throw sottoError('ERR_PARTIES', 'share: the parties named are not those of the group, or not of that ring')
}

/**
 * A private value was shared among workers that its owner means. This party may have been told of others under their names:
 * then it is no party to that secret.
 */
function checkGroup(
  session: HostSession,
  party: Party,
  from: string,
  { members = [] }: ShareDeposit,
  access: Access,
): void {
  if (access.length === 0) return
  const { parties, provider } = party.options
  const others = [...parties, ...(provider === null ? [] : [provider])]
  const meant = new Map(members.map(({ name, key }) => [name, key]))
  const isMeant = (name: string): boolean =>
    name === from || name === session.host.id || (meant.has(name) && meant.get(name) === session.peers.get(name)?.key)
  if (!others.every(isMeant)) throw refusedToShare(others, access)
}
