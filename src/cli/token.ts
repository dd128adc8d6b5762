/** `sotto token`: makes, lists and revokes tokens. */
import { drawTable } from '../worker/table.ts'
import { allRights, expiryOf, type Right, type TokenRecord } from '../worker/tokens.ts'
import { type Io, UsageError } from './io.ts'
import { addToken, readRecords, removeToken } from './token-file.ts'

export interface NewToken {
  readonly identity: string
  readonly rights?: string
  readonly expires?: string
  readonly tokens: string
}

/** Prints a new token, once: the file keeps its hash alone. */
export async function createdToken({ identity, tokens: path, ...given }: NewToken, io: Io): Promise<void> {
  const expires = given.expires === undefined ? undefined : expiryOf(given.expires, new Date())
  const { token, record } = await addToken(path, { identity, rights: rightsOf(given.rights), expires })
  io.out(`${token}\n`)
  io.err(`token ${record.id} of ${identity}, for ${record.rights.join(', ')}, good ${untilOf(record)}\n`)
}

function rightsOf(text: string | undefined): readonly Right[] | undefined {
  const given = text?.split(',')
  const isRight = (right: string): right is Right => allRights.includes(right as Right)
  if (given === undefined || given.every(isRight)) return given
  throw new UsageError(`--rights expected some of ${allRights.join(',')}`)
}

const untilOf = ({ expires }: TokenRecord): string => (expires === null ? 'until it is revoked' : `until ${expires}`)

export async function listTokens(path: string, io: Io): Promise<void> {
  const records = await readRecords(path)
  if (records.length === 0) return io.out('No tokens.\n')
  const now = new Date().toISOString()
  const rows = records.map((record) => {
    const { id, identity, expires } = record
    const isOver = expires !== null && !(new Date(now) < new Date(expires))
    return [id, identity, record.rights.join(', '), isOver ? `no more, since ${expires}` : untilOf(record)]
  })
  io.out(`${drawTable([['id', 'identity', 'rights', 'good'], ...rows])}\n`)
}

export async function revokeToken(id: string, path: string, io: Io): Promise<void> {
  const { identity } = await removeToken(path, id)
  io.out(`token ${id} of ${identity} is revoked\n`)
}
