/** The flags of `sotto psi`. */
import type { Command } from 'commander'
import type { Io } from './io.ts'
import { file, type Kind, key, name, oneOf, text, url, whole } from './kinds.ts'
import { optionOf } from './option.ts'
import type { PsiFlags } from './psi.ts'

/** Who learns what, as whoever types it sees it. */
export const reveals = ['both', 'me', 'peer', 'size'] as const

const several: Kind<readonly string[]> = {
  ...(name as Kind<unknown> as Kind<readonly string[]>),
  read: (given, before = []) => [...(before as string[]), given],
}

const groups = {
  Ids: [
    ['--ids', file, 'CSV file with a header, or .csv.gz, in which the ids are.'],
    ['--column', several, 'Column of ids; given more than once, the columns are one id together.'],
    ['--rule', oneOf(['text', 'exact', 'number'], 'rule'), 'How ids are written alike; text unless given.'],
  ],
  Intersection: [
    [
      '--reveal',
      oneOf(reveals, 'whom'),
      'Who learns which ids are shared; "size": both learn how many. both unless given.',
    ],
    ['--protocol', oneOf(['fast', 'curve'], 'name'), 'The protocol; fast unless given, curve for sizes.'],
    ['--payload', several, 'Column to send along for the ids that are shared; may be given more than once.'],
    ['--pad-to', whole('number'), 'Pretends that there are so many ids.'],
    ['--max-peer', whole('number'), 'The most ids that the other side may have.'],
    ['--threads', whole('number', 64), 'Threads for the protocol curve; as many as there are processors unless given.'],
    ['--out', file, 'File for the rows that are shared, in the same order on both sides; it must not be there yet.'],
    ['--timeout', whole('ms'), 'How long to wait for the other side at a time; a minute unless given.'],
  ],
  Connecting: [
    ['--peer', url, 'Where the other side listens: wss://host:8778.'],
    ['--token', text('a token', 'token'), 'Token that the other side gave out; other users can read it here.'],
    ['--token-file', file, 'File with that token; without either, SOTTO_TOKEN of the environment.'],
    ['--pin', key, 'Key that the other side must hold.'],
    ['--ca', file, 'Authorities to trust, in PEM.'],
    ['--cert', file, 'Certificate to show, in PEM.'],
    ['--key', file, 'Key of that certificate, in PEM.'],
  ],
  Listening: [
    ['--listen', null, 'Waits for the other side.'],
    ['--name', name, 'Name of this side, for the other; "owner" unless given.'],
    ['--identity', file, 'File with a long-term key, made by "sotto keygen"; without it, a new key.'],
    ['--host', text('an address', 'address', 256), 'Address to listen at; 127.0.0.1 unless given.'],
    ['--port', whole('number', 65_535), 'Port to listen at, 0 for any that is free; 8778 unless given.'],
    ['--tls-cert', file, 'Certificate of this side, in PEM.'],
    ['--tls-key', file, 'Key of that certificate, in PEM.'],
    ['--tokens', file, 'File of the tokens that let the other side in, kept by "sotto token".'],
    ['--insecure', null, 'Lets in whoever comes; on the other side, sends the token where others could read it.'],
  ],
} as const satisfies Readonly<Record<string, readonly (readonly [string, object | null, string])[]>>

export function addPsi(program: Command, io: Io): void {
  const command = program
    .command('psi')
    .description('Finds which ids two people share, and shows neither of them any other. One listens, one connects.')
  for (const [group, flags] of Object.entries(groups)) {
    for (const [flag, kind, help] of flags) {
      if (kind === null) command.addOption(command.createOption(flag, help).helpGroup(`${group}:`))
      else command.addOption(optionOf(flag, kind as Kind<unknown>, help).helpGroup(`${group}:`))
    }
  }
  command.action(async (flags: PsiFlags) => {
    const { runPsi } = await import('./psi.ts')
    await runPsi(flags, io)
  })
}
