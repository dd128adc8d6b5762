/**
 * Makes the folder of each party: what would lie on the party's own machine before anything begins. See README.md for
 * how the parties make it themselves.
 */
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createToken, formatNpy, Identity, showTokens } from 'sotto'
import { Document, visit } from 'yaml'
import { type OwnedData, type Party, RESEARCHER, type Scene } from './parties.ts'

/** What a researcher knows of a worker before it runs. */
export interface Known {
  /** Its public key, which its owner has told. */
  readonly key: string
  /** File with the token, which its owner has given out. */
  readonly token: string
}

/** What is for nobody but its owner. */
const SECRET = { mode: 0o600 }

/**
 * @param folder where the folders of the parties go
 * @returns what the researcher knows of each party, by its name; and whether there are certificates: without the
 *   `openssl` command there are none
 */
export async function prepare(
  folder: string,
  { parties, held }: Scene,
): Promise<{ known: Record<string, Known>; withTls: boolean }> {
  const identities = new Map(parties.map(({ name }) => [name, Identity.generate()]))
  const keyOf = (name: string): string => identities.get(name)!.key
  const home = join(folder, RESEARCHER)
  await mkdir(home)
  await writeFile(join(home, 'held-out.json'), JSON.stringify(held))
  const known: Record<string, Known> = {}
  let withTls = true
  for (const party of parties) {
    const { name } = party
    const own = join(folder, name)
    await mkdir(own)
    withTls = withTls && (await makeCertificate(own, name))
    await writeFile(join(own, 'sotto.key'), `${identities.get(name)!.secret()}\n`, SECRET)
    const { token, record } = createToken({ identity: RESEARCHER })
    await writeFile(join(own, 'tokens.json'), showTokens([record]), SECRET)
    for (const [set, { tensor }] of Object.entries(party.data)) await writeNpy(join(own, `${set}.npy`), tensor)
    await writeFile(join(own, 'worker.yaml'), configOf(party, keyOf, withTls))
    // The owner has given it to the researcher.
    await writeFile(join(home, `${name}.token`), `${token}\n`, SECRET)
    known[name] = { key: keyOf(name), token: `${name}.token` }
  }
  return { known, withTls }
}

/** The file for `sotto worker --config`. Paths in it are as seen from its folder. */
function configOf({ name, data, peers }: Party, keyOf: (name: string) => string, withTls: boolean): string {
  const sets = Object.entries(data)
  const each = (pick: (set: OwnedData) => readonly string[] | undefined) => {
    const some = sets.flatMap(([set, owned]) => (pick(owned) === undefined ? [] : [[set, pick(owned)]]))
    return some.length === 0 ? undefined : Object.fromEntries(some)
  }
  const config = {
    id: name,
    identity: 'sotto.key',
    port: 0,
    tlsCert: withTls ? 'tls.pem' : undefined,
    tlsKey: withTls ? 'tls.key' : undefined,
    tokens: 'tokens.json',
    peers: peers.length === 0 ? undefined : Object.fromEntries(peers.map((peer) => [peer, keyOf(peer)])),
    data: sets.length === 0 ? undefined : Object.fromEntries(sets.map(([set]) => [set, `${set}.npy`])),
    tags: each(({ tags }) => tags),
    allowResults: each(({ allowResults }) => allowResults),
    allowShares: each(({ allowShares }) => allowShares),
    allowTotals: each(({ allowTotals }) => allowTotals),
    logLevel: 'warn',
  }
  const document = new Document(config, { aliasDuplicateObjects: false })
  visit(document, {
    Seq(_, list) {
      list.flow = true
    },
  })
  return `# What sotto worker --config is told on the machine of ${name}; paths are relative to this file.\n${document}`
}

async function writeNpy(path: string, tensor: OwnedData['tensor']): Promise<void> {
  const { shape, dtype } = tensor
  await writeFile(path, formatNpy({ shape, dtype, data: tensor.dataSync() } as Parameters<typeof formatNpy>[0]))
  tensor.dispose()
}

const run = promisify(execFile)

/** A certificate that vouches for itself; the key that callers pin vouches for it. @returns whether one could be made */
async function makeCertificate(folder: string, name: string): Promise<boolean> {
  const files = ['-keyout', join(folder, 'tls.key'), '-out', join(folder, 'tls.pem')]
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2']
  const names = ['-subj', `/CN=${name}`, '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  try {
    await run('openssl', ['req', '-x509', ...kind, ...names, ...files])
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}
