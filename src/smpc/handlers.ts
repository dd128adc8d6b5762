/** What a worker does for each message of secret computation, and what each must look like. */
import * as v from 'valibot'
import { sottoError } from '../errors.ts'
import { tf } from '../tensor/engine.ts'
import { type Shape, type Spec, showShape, sizeOf } from '../tensor/shape.ts'
import { Tracked } from '../tensor/tape.ts'
import { checkNew, checkRoom, storeTensor } from '../worker/handlers/compute.ts'
import { recordLeft, recordOpened, recordShared, refuse, seeFailure } from '../worker/handlers/disclosure.ts'
import { deliver, failedDeposit, failureIn } from '../worker/handlers/transfer.ts'
import type { HostSession } from '../worker/host.ts'
import { addMessages, type MessageRow, type MessageRows } from '../worker/messages.ts'
import {
  type Access,
  accessFrom,
  accessOf,
  combine,
  derivedFrom,
  maySee,
  mayShare,
  PUBLIC,
  plainAccess,
  refusedToShare,
} from '../worker/permissions.ts'
import type { Deposit } from '../worker/protocol.ts'
import { fields } from '../worker/schema.ts'
import { OperationFailed, Poison, type StoredOther } from '../worker/store.ts'
import { type Correlation, isCorrelation } from './correlations.ts'
import { type Encoding, isFixed } from './encoding.ts'
import { FixedPrecisionTensor, integersOf } from './fixed-precision.ts'
import { encodeValues } from './literals.ts'
import { membersOf } from './members.ts'
import type { Part, RingWire, SecretMessages, SecretRequest, ShareWire } from './messages.ts'
import { Party } from './party.ts'
import { randomSeed } from './prg.ts'
import { protocolOf, protocols } from './protocols/index.ts'
import { Provider } from './provider.ts'
import { ring } from './ring/choose.ts'
import { bytesOf, type RingTensor, ringTensor, wordsOf } from './ring/tensor.ts'
import { type RingOp, ringRow, runClear } from './ring-ops.ts'
import { shareFrom, sharesOf } from './stored-share.ts'

// What messages are made of.

const { id, out, outs, name, count, bytes, shape, privacy, labels, error } = fields
const seed = v.pipe(bytes, v.length(32))
const encoding = v.strictObject({
  dtype: v.picklist(['float32', 'int32', 'bool']),
  base: v.pipe(v.number(), v.integer(), v.minValue(2)),
  precisionFractional: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(31)),
})
const parties = v.pipe(v.array(name), v.minLength(2), v.maxLength(256))
const isRing = (x: unknown): x is RingWire => {
  if (typeof x !== 'object' || x === null) return false
  const { shape: dimensions, data } = x as Partial<RingWire>
  if (!v.is(shape, dimensions) || !(data instanceof Uint8Array)) return false
  return data.byteLength === 8 * sizeOf(dimensions)
}
const share: v.GenericSchema<unknown, ShareWire> = v.strictObject({
  shape,
  data: v.optional(bytes),
  seed: v.optional(seed),
}) as never
const operand = v.union([id, v.custom<RingWire>(isRing)])
const command = {
  op: v.pipe(v.string(), v.maxLength(64)),
  operands: v.pipe(v.array(operand), v.minLength(1), v.maxLength(65_536)),
  attrs: v.pipe(v.array(v.unknown()), v.maxLength(16)),
  divisor: v.nullable(v.pipe(count, v.minValue(1))),
  out: outs,
}
const part: v.GenericSchema<unknown, Part> = v.variant('kind', [
  v.strictObject({ kind: v.literal('opening'), seq: count, step: count, op: v.string(), data: bytes }),
  v.strictObject({ kind: v.literal('dealt'), index: count, of: v.string(), data: bytes }),
  v.strictObject({ kind: v.literal('seed'), data: seed }),
  v.strictObject({ kind: v.literal('credit'), index: count, bytes: count }),
  v.strictObject({ kind: v.literal('end'), error }),
]) as never
const group = out
const toKeys = v.pipe(v.array(v.strictObject({ name, key: out })), v.maxLength(256))

// Groups.

function partyOf(session: HostSession, id: string): Party {
  const member = membersOf(session.host).find(id)
  if (!(member instanceof Party) || member.session !== session) {
    throw sottoError('ERR_NOT_FOUND', 'this session has made the worker no party of that group')
  }
  return member
}

/** Where this worker is a party itself, it knows who the others are, and need not take a caller's word for it. */
function checkClaims(session: HostSession, id: string, names: readonly string[], provider: string | null): void {
  const member = membersOf(session.host).find(id)
  if (!(member instanceof Party)) return
  const { parties: known, provider: dealer } = member.options
  if (dealer === provider && known.length === names.length && known.every((name, i) => name === names[i])) return
  throw sottoError('ERR_PARTIES', 'share: the parties named are not those of the group')
}

/** Hands something over under a key: to a peer, or to this worker itself. */
function hand(session: HostSession, to: string, key: string, content: Deposit): void {
  if (to === session.host.id) session.host.mailbox.put(key, to, content)
  else deliver(session, to, key, content)
}

/** Does something that all parties do: where one fails alone, none can go on. */
function together<T>(party: Party, action: () => T): T {
  party.check()
  try {
    return action()
  } catch (error) {
    // What failed before fails alike everywhere.
    if (!(error instanceof Poison)) party.end(error)
    throw error
  }
}

const specFor = ({ dtype }: Encoding, dimensions: Shape): Spec => ({ shape: dimensions, dtype })

// Fixed precision.

/** A public tensor of ring elements, on a worker. */
class StoredFixed implements StoredOther {
  readonly kind = 'fixed'
  readonly value: RingTensor
  readonly encoding: Encoding
  readonly access: Access
  readonly owner: string
  readonly session: object
  constructor(session: HostSession, value: RingTensor, encoding: Encoding, access: Access) {
    this.value = value
    this.encoding = encoding
    this.access = access
    this.owner = session.name
    this.session = session
  }
  get shape() {
    return this.value.shape
  }
  get dtype() {
    return this.encoding.dtype
  }
  get bytes() {
    return 8 * this.value.data.length
  }
  release(): void {}
}

/** Ring elements of an object: of a fixed-precision tensor as it is, of another tensor encoded. */
function encoded(
  session: HostSession,
  operation: string,
  id: string,
  wanted: Encoding,
): { value: RingTensor; access: Access; tags: readonly string[] } {
  const { store } = session.host
  if (store.find(id)?.kind === 'fixed') {
    const fixed = store.other(id, 'fixed') as StoredFixed
    return { value: fixed.value, access: fixed.access, tags: [] }
  }
  const { tensor, access, labels, failure } = seeFailure(session, operation, () => store.read(id))
  if (failure !== null) throw new Poison({ error: failure, access })
  // Whether it can be encoded depends on the values.
  try {
    const made = isFixed(wanted)
      ? encodeValues(operation, tensor, () => wanted).tensor
      : integersOf(operation, tensor).publicValue.tensor
    return { value: made, access, tags: labels.tags }
  } catch (error) {
    throw new OperationFailed(error, access)
  }
}

const rows = {
  secretJoin: {
    schema: v.strictObject({
      group,
      protocol: v.picklist(Object.keys(protocols)),
      parties,
      index: count,
      provider: v.nullable(name),
    }),
    handle(session, body) {
      if (
        body.index >= body.parties.length ||
        new Set([...body.parties, body.provider]).size !== body.parties.length + 1
      ) {
        throw sottoError('ERR_PARTIES', 'each party, and the provider, is a worker of its own')
      }
      membersOf(session.host).add(new Party(session, { ...body, protocol: protocolOf(body.protocol) }))
    },
    isAsk: false,
    isFromPeer: false,
  },
  secretProvide: {
    schema: v.strictObject({ group, parties }),
    handle(session, body) {
      if (body.parties.includes(session.host.id)) {
        throw sottoError('ERR_PARTIES', `${session.host.id} is a party, and would know its own masks`)
      }
      membersOf(session.host).add(new Provider(session, body))
    },
    isAsk: false,
    isFromPeer: false,
  },
  secretDeal: {
    schema: v.strictObject({
      group,
      index: count,
      correlations: v.pipe(v.array(v.custom<Correlation>(isCorrelation)), v.maxLength(65_536)),
      ahead: v.boolean(),
    }),
    handle(session, { group: id, index, correlations, ahead }) {
      const member = membersOf(session.host).find(id)
      if (!(member instanceof Provider) || member.session !== session) {
        throw sottoError('ERR_NOT_FOUND', 'this session has made the worker no provider of that group')
      }
      try {
        member.deal(index, correlations, ahead)
      } catch (error) {
        member.end(error)
        throw error
      }
    },
    isAsk: false,
    isFromPeer: false,
  },
  secretPut: {
    schema: v.strictObject({ group, out, share, privacy }),
    handle(session, { group: id, out: name, share: wire, privacy: rights }) {
      const party = partyOf(session, id)
      together(party, () => {
        checkRoom(session, 'share', [{ shape: wire.shape, dtype: 'int32' }])
        checkNew(session, [name])
        party.store(name, wire.shape, shareFrom(wire), accessOf(rights, session.name))
      })
    },
    isAsk: false,
    isFromPeer: false,
  },
  secretRandom: {
    schema: v.strictObject({ group, out, shape }),
    handle(session, { group: id, out: name, shape: dimensions }) {
      const party = partyOf(session, id)
      together(party, () => {
        checkRoom(session, 'sharedRandom', [{ shape: dimensions, dtype: 'int32' }])
        checkNew(session, [name])
        party.store(name, dimensions, shareFrom({ shape: dimensions, seed: randomSeed() }), PUBLIC)
      })
    },
    isAsk: false,
    isFromPeer: false,
  },
  secretShare: {
    schema: v.strictObject({ group, id, encoding, to: toKeys, provider: v.nullable(name) }),
    handle(session, { group: id, id: object, encoding: wanted, to, provider }) {
      const names = to.map(({ name: party }) => party)
      checkClaims(session, id, names, provider)
      const others = [...names, ...(provider === null ? [] : [provider])].filter((party) => party !== session.host.id)
      try {
        const { value, access: rights, tags } = encoded(session, 'share', object, wanted)
        const spec = specFor(wanted, value.shape)
        if (!mayShare(rights, others, (owner, name) => session.isKnown(owner, name))) {
          refuse(
            session,
            'share',
            spec,
            { to: names.join(' + '), access: rights, tags },
            refusedToShare(others, rights),
          )
        }
        recordShared(session, spec, { parties: names, provider, tags })
        const shares = sharesOf(value, to.length)
        to.forEach(({ name, key }, i) => {
          hand(session, name, key, { kind: 'share', ...shares[i]!, access: plainAccess(rights) })
        })
      } catch (thrown) {
        for (const { name, key } of to) hand(session, name, key, failedDeposit(session, thrown))
        throw thrown
      }
    },
    isAsk: false,
    isFromPeer: false,
  },
  secretTake: {
    schema: v.strictObject({ group, from: name, key: out, out, shape }),
    async handle(session, { group: id, from, key, out: name, shape: dimensions }) {
      const party = partyOf(session, id)
      party.check()
      const deposit = await session.host.mailbox.take(key, from, session)
      if (deposit.kind === 'failed') throw failureIn(deposit)
      const rights = deposit.kind === 'share' ? accessFrom(deposit.access) : PUBLIC
      const { parties: names, provider } = party.options
      const members = [...names, ...(provider === null ? [] : [provider])].filter((member) => member !== from)
      // Its owner's worker saw to it that these names mean what the owner means; here, that it was told of all of them.
      if (!mayShare(rights, members, () => true)) {
        party.end(refusedToShare(members, rights))
        party.check()
      }
      together(party, () => {
        if (deposit.kind !== 'share' || showShape(deposit.shape) !== showShape(dimensions)) {
          throw sottoError('ERR_OUT_OF_STEP', `${from} sent no share of shape ${showShape(dimensions)}`)
        }
        checkRoom(session, 'share', [{ shape: dimensions, dtype: 'int32' }])
        checkNew(session, [name])
        party.store(name, dimensions, shareFrom(deposit), rights)
      })
    },
    isAsk: false,
    isFromPeer: false,
  },
  secretRun: {
    schema: v.strictObject({ ...command, group, seq: count, index: count, dealt: count }),
    handle(session, body) {
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
    isAsk: false,
    isFromPeer: false,
  },
  secretGet: {
    schema: v.strictObject({ group, seq: count, id: out, encoding }),
    async handle(session, { group: id, seq, id: object, encoding: meant }) {
      const party = partyOf(session, id)
      const [stored, zeros] = together(party, () => {
        const drawn = party.beginAlone(seq)
        return [party.share(object), drawn] as const
      })
      const spec = specFor(meant, stored.shape)
      if (!maySee(stored.access, session.name)) refuse(session, 'reveal', spec, { access: stored.access })
      const answer = await party.outward(zeros, object)
      recordOpened(session, spec, { parties: party.options.parties, access: stored.access })
      return answer
    },
    isAsk: true,
    isFromPeer: false,
  },
  secretOpen: {
    schema: v.strictObject({ group, seq: count, id: out, to: name, key: out, encoding }),
    async handle(session, { group: id, seq, id: object, to, key, encoding: meant }) {
      const party = partyOf(session, id)
      try {
        const [stored, zeros] = together(party, () => {
          const drawn = party.beginAlone(seq)
          return [party.share(object), drawn] as const
        })
        const spec = specFor(meant, stored.shape)
        if (!session.mayMoveTo(stored.access, to)) refuse(session, 'reveal', spec, { to, access: stored.access })
        const { data } = await party.outward(zeros, object)
        recordOpened(session, spec, { parties: party.options.parties, to, access: stored.access })
        hand(session, to, key, { kind: 'share', shape: stored.shape, data, access: plainAccess(stored.access) })
      } catch (thrown) {
        hand(session, to, key, failedDeposit(session, thrown))
        throw thrown
      }
    },
    isAsk: false,
    isFromPeer: false,
  },
  secretReceive: {
    schema: v.strictObject({ from: toKeys, out, shape, encoding, labels }),
    async handle(session, { from, out: name, shape: dimensions, encoding: meant, labels: given }) {
      const { mailbox } = session.host
      const deposits = await Promise.all(from.map(({ name: party, key }) => mailbox.take(key, party, session)))
      const failed = deposits.find((deposit) => deposit.kind === 'failed')
      if (failed?.kind === 'failed') throw failureIn(failed)
      const opened = deposits.flatMap((deposit) => (deposit.kind === 'share' ? [deposit] : []))
      if (opened.length !== from.length || opened.some((piece) => showShape(piece.shape) !== showShape(dimensions))) {
        throw sottoError('ERR_OUT_OF_STEP', `shares of a secret of shape ${showShape(dimensions)} were expected`)
      }
      const spec = specFor(meant, dimensions)
      checkRoom(session, 'reveal', [spec])
      checkNew(session, [name])
      const words = opened.map((piece) => shareFrom(piece).data).reduce((a, b) => ring().add(a, b))
      const access = opened.map((piece) => accessFrom(piece.access)).reduce(combine)
      const value = new FixedPrecisionTensor(ringTensor(dimensions, words), meant).floatPrecision()
      storeTensor(session, name, new Tracked(tf.keep(value)), { access, labels: given })
    },
    isAsk: false,
    isFromPeer: false,
  },
  secretStats: {
    schema: v.strictObject({ group }),
    handle(session, { group: id }) {
      const member = membersOf(session.host).find(id)
      if (member instanceof Provider && member.session === session) return member.stats()
      return partyOf(session, id).stats()
    },
    isAsk: true,
    isFromPeer: false,
  },
  secretParts: {
    schema: v.strictObject({ group, parts: v.pipe(v.array(part), v.maxLength(100_000)) }),
    handle(session, { group: id, parts }) {
      if (session.role !== 'peer') throw sottoError('ERR_PERMISSION', 'only a peer may hand over parts of a secret')
      membersOf(session.host).take(session.name, id, parts)
    },
    isAsk: false,
    isFromPeer: true,
  },

  fixTensor: {
    schema: v.strictObject({ id, out, encoding }),
    handle(session, { id: object, out: name, encoding: wanted }) {
      checkNew(session, [name])
      const { value, access: rights } = encoded(session, 'fixPrecision', object, wanted)
      checkRoom(session, 'fixPrecision', [specFor(wanted, value.shape)])
      session.host.store.add(name, new StoredFixed(session, value, wanted, rights))
    },
    isAsk: false,
    isFromPeer: false,
  },
  floatTensor: {
    schema: v.strictObject({ id: out, out }),
    handle(session, { id: object, out: name }) {
      checkNew(session, [name])
      const { value, encoding: meant, access: rights } = session.host.store.other(object, 'fixed') as StoredFixed
      checkRoom(session, 'floatPrecision', [specFor(meant, value.shape)])
      const result = new FixedPrecisionTensor(value, meant).floatPrecision()
      storeTensor(session, name, new Tracked(tf.keep(result)), { access: rights })
    },
    isAsk: false,
    isFromPeer: false,
  },
  fixedRun: {
    schema: v.strictObject({ ...command, encodings: v.pipe(v.array(encoding), v.maxLength(65_536)) }),
    handle(session, { op, operands, attrs: given, divisor, out: names, encodings }) {
      checkNew(session, names)
      const row = ringRow(op)
      const attrs = given.map((attr) => attr ?? undefined)
      const stored = operands.map((one) =>
        typeof one === 'string' ? (session.host.store.other(one, 'fixed') as StoredFixed) : one,
      )
      const values = stored.map((one) =>
        one instanceof StoredFixed ? one.value : ringTensor(one.shape, wordsOf(one.data)),
      )
      const shapes = row.shapes(
        values.map((value) => value.shape),
        attrs,
      )
      if (shapes.length !== names.length || encodings.length !== names.length) {
        throw sottoError('ERR_PROTOCOL', `${op}: gives ${shapes.length} results, ${names.length} were named`)
      }
      checkRoom(
        session,
        op,
        shapes.map((dimensions) => ({ shape: dimensions, dtype: 'int32' as const })),
      )
      const rights = derivedFrom(
        stored.reduce((sum: Access, one) => (one instanceof StoredFixed ? combine(sum, one.access) : sum), PUBLIC),
      )
      const results = runClear(op as RingOp, values, attrs, divisor === null ? null : BigInt(divisor))
      results.forEach((value, i) => {
        session.host.store.add(names[i]!, new StoredFixed(session, value, encodings[i]!, rights))
      })
    },
    isAsk: false,
    isFromPeer: false,
  },
  fixedGet: {
    schema: v.strictObject({ id: out, keep: v.boolean() }),
    handle(session, { id: object, keep }) {
      session.raiseEffects()
      const { store } = session.host
      const operation = keep ? 'fetch' : 'get'
      const stored = seeFailure(session, operation, () => store.other(object, 'fixed')) as StoredFixed
      const spec = specFor(stored.encoding, stored.shape)
      if (!maySee(stored.access, session.name)) refuse(session, operation, spec, { access: stored.access })
      recordLeft(session, operation, spec, { access: stored.access })
      if (!keep && stored.owner === session.name) store.free(object)
      return { shape: stored.shape, data: bytesOf(stored.value.data).slice() }
    },
    isAsk: true,
    isFromPeer: false,
  },
} satisfies { readonly [N in keyof SecretMessages]: MessageRow<SecretRequest<N>, SecretMessages[N]['response']> }

addMessages<SecretMessages>(rows as unknown as MessageRows<SecretMessages>)
