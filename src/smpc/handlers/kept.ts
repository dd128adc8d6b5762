/** Messages about shares that parties keep on their own disks, and about who has to consent before they are opened. */
import { sottoError } from '../../errors.ts'
import { sizeOf } from '../../tensor/shape.ts'
import type { KeptShares } from '../../worker/checkpoint-file.ts'
import { failedDeposit } from '../../worker/handlers/transfer.ts'
import type { HostSession } from '../../worker/host-session.ts'
import { accessFrom, combine, consentNeeded, PUBLIC, plainAccess } from '../../worker/permissions.ts'
import { Poison } from '../../worker/store.ts'
import { consentsOf } from '../consents.ts'
import type { SecretHandlers } from '../handlers.ts'
import type { Party } from '../party.ts'
import { ringTensor, wordsOf } from '../ring/tensor.ts'
import { holding, sharesOf } from '../stored-share.ts'
import { partyOf, together } from './groups.ts'
import { hand } from './secrets.ts'

export const keptHandlers: SecretHandlers<
  'secretSave' | 'secretKept' | 'secretRestore' | 'secretGuard' | 'secretConsent'
> = {
  async secretSave(session, { group, seq, name, set, note, ids }) {
    const party = partyOf(session, group)
    const [shares, draws] = together(party, () => {
      const drawn = party.beginAlone(seq)
      return [ids.map((id) => party.share(id)), drawn] as const
    })
    const tensors: KeptShares['tensors'][number][] = []
    await holding(shares, async () => {
      for (const share of shares) {
        // What failed is no state to go on from.
        if (share.failure !== null) throw new Poison({ error: share.failure, access: share.access })
        const { data } = await party.outward(draws, share)
        tensors.push({ shape: share.shape, data, access: plainAccess(share.access) })
      }
    })
    const { parties, index } = party.options
    const members = membersOf(session, party)
    return session.host.checkpoints.save(session.name, name, {
      shares: { set, parties, index, members, note, tensors },
    })
  },

  async secretKept(session, { group, name }) {
    const { shares, info } = await load(session, partyOf(session, group), name)
    const { set, note, tensors } = shares
    return { set, note, shapes: tensors.map(({ shape }) => shape), info }
  },

  /** Shares its share among the parties: what they add up to is what was kept. */
  async secretRestore(session, { group, name, set, to }) {
    const party = partyOf(session, group)
    try {
      const { shares } = await load(session, party, name)
      const { tensors } = shares
      if (shares.set !== set || tensors.length !== to.length) {
        throw sottoError('ERR_CHECKPOINT_MISMATCH', `restore: "${name}" was saved anew meanwhile`)
      }
      const members = membersOf(session, party)
      tensors.forEach(({ shape, data, access }, i) => {
        const pieces = sharesOf(
          ringTensor(party.options.ring, shape, wordsOf(data.slice())),
          to[i]!.length,
          party.options.protocol,
        )
        to[i]!.forEach(({ name: taker, key }, j) => {
          hand(session, taker, key, { kind: 'share', ...pieces[j]!, members, access })
        })
      })
    } catch (thrown) {
      for (const { name: taker, key } of to.flat()) hand(session, taker, key, failedDeposit(session, thrown))
      throw thrown
    }
  },

  /** Those named have to consent to what comes of these shares from now on. */
  secretGuard(session, { group, ids, job, owners }) {
    const party = partyOf(session, group)
    together(party, () => {
      const more = consentNeeded(job, owners)
      for (const share of ids.map((id) => party.share(id))) share.access = combine(share.access, more)
    })
  },

  secretConsent(session, { job, to, isGiven }) {
    consentsOf(session.host).set(session.name, job, to, isGiven)
  },
}

/** The other members of a party's group, as its worker knows them. */
function membersOf(session: HostSession, { options: { parties, provider } }: Party) {
  const others = [...parties, ...(provider === null ? [] : [provider])].filter((name) => name !== session.host.id)
  return others.map((name) => ({ name, key: session.peers.get(name)!.key }))
}

/**
 * What this party kept under a name, for the same parties.
 *
 * @throws StateError `ERR_CHECKPOINT_MISMATCH` for what other parties kept, or no party; PermissionError when it came from
 *   private values, and the others are not the workers that they were
 */
async function load(session: HostSession, party: Party, name: string) {
  const kept = await session.host.checkpoints.load(session.name, name)
  const mismatch = (why: string): Error => sottoError('ERR_CHECKPOINT_MISMATCH', `restore: "${name}" ${why}`, { name })
  if (!('shares' in kept)) throw mismatch('holds a model, and no shares')
  const { parties, index, members, tensors } = kept.shares
  const { options } = party
  if (options.index !== index || JSON.stringify(options.parties) !== JSON.stringify(parties)) {
    throw mismatch(`holds a share of secrets of ${parties.join(', ')}, in this order`)
  }
  if (tensors.some(({ shape, data }) => data.length !== (options.ring / 8) * sizeOf(shape))) {
    throw mismatch('is of another ring, or malformed')
  }
  const access = tensors.map((tensor) => accessFrom(tensor.access)).reduce(combine, PUBLIC)
  if (access.length > 0) {
    const before = new Map(members.map((member) => [member.name, member.key]))
    for (const { name: other, key } of membersOf(session, party)) {
      if (before.get(other) === key) continue
      const message = `restore: "${name}" came from private values, and ${other} is not the worker that it was then; give workers keys that last`
      throw sottoError('ERR_PERMISSION', message, { action: 'restore', party: other })
    }
  }
  return kept
}
