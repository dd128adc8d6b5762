/** `sotto compute`, `sotto input`, `sotto result`: their flags. */
import type { Command } from 'commander'
import type { Io } from './io.ts'
import { file, files, folder, lists, text, whole } from './kinds.ts'
import { optionOf } from './option.ts'
import type { ComputeFlags, OwnerFlags } from './roles.ts'

const WAIT = 120_000

// The commands load what they need when they run: the tensor engine takes a second.
const load = () => import('./roles.ts')

export function addRoles(program: Command, io: Io): void {
  common(program.command('compute'), '0, 1 or 2, in the order of the job, or its name.')
    .description('Is one of the three who compute a job in secret. They see nothing of what they compute with.')
    .addOption(optionOf('--shares', files, 'Its part of an input that "sotto shares split" has split.'))
    .addOption(optionOf('--checkpoints', folder, 'Folder for its shares of what the job keeps; readable by you alone.'))
    .action(async (flags: ComputeFlags) => (await load()).compute(flags, io))
  owner(common(program.command('input'), 'Its name in the job.'))
    .description('Shares what it brings among those who compute a job in secret, and leaves.')
    .action(async (flags: OwnerFlags) => (await load()).takeRole('input', flags, io))
  owner(common(program.command('result'), 'Its name in the job.'))
    .description('Waits for what a job in secret opens to it alone, and writes it down.')
    .action(async (flags: OwnerFlags) => (await load()).takeRole('result', flags, io))
}

/** What all parties take. */
function common(command: Command, id: string): Command {
  const address = text('host:port, or a URL', 'address', 2048)
  return command
    .addOption(optionOf('--id', text('a name', 'party', 64), `Which party it is: ${id}`).makeOptionMandatory())
    .addOption(optionOf('--job', file, 'File of the job, the same for all parties.').makeOptionMandatory())
    .addOption(optionOf('--peers', file, 'JSON file that says where the parties are: { "server0": "host:port", … }.'))
    .addOption(
      optionOf(
        '--discovery',
        text('redis://host:port', 'url', 2048),
        'Redis server where the parties say it, instead.',
      ),
    )
    .addOption(optionOf('--identity', file, 'File with its long-term key, made by "sotto keygen"; else a new key.'))
    .addOption(optionOf('--host', text('an address', 'address', 256), 'Address to listen at; 127.0.0.1 unless given.'))
    .addOption(optionOf('--port', whole('number', 65_535), 'Port to listen at; that of --peers, or any, unless given.'))
    .addOption(optionOf('--address', address, 'With --discovery, where others reach it, if not where it listens.'))
    .addOption(optionOf('--tls-cert', file, 'Certificate, in PEM.'))
    .addOption(optionOf('--tls-key', file, 'Key of that certificate, in PEM.'))
    .addOption(optionOf('--ca', file, 'Authorities to trust when dialling, in PEM; a key in the job vouches too.'))
    .option('--insecure', 'Takes parties beyond this machine at their word, and sends shares where others could read.')
    .addOption(optionOf('--wait', whole('ms'), 'How long to wait for the other parties.').default(WAIT))
    .option('--ledger', 'Prints at the end who saw what at this party.')
}

function owner(command: Command): Command {
  return command
    .addOption(optionOf('--data', files, 'What it brings: a .csv, .npy or IDX file, or the model.json of a model.'))
    .addOption(optionOf('--columns', lists('a,b', 'columns'), 'The columns of a .csv file to take, in this order.'))
    .option('--consent', 'Consents to what the job opens, where the job asks for it.')
    .addOption(optionOf('--out', folder, 'Folder for what it gets to see; nothing is written over.'))
}
