/** `sotto job`: its subcommands and flags. */
import type { Command } from 'commander'
import type { Io } from './io.ts'
import type { CompileFlags, SchedulerFlags, ServerFlags, TrainerFlags } from './job.ts'
import { file, files, folder, key, lists, text, url, whole } from './kinds.ts'
import { optionOf } from './option.ts'

const WAIT = 120_000

// The commands load what they need when they run: the tensor engine takes a second.
const load = () => import('./job.ts')

export function addJob(program: Command, io: Io): void {
  const job = program
    .command('job')
    .description('Federated training by a server, a scheduler and trainers, each a process of its own.')
  job
    .command('compile')
    .description('Makes the folder of a job, for all who take part, of a module that exports it.')
    .argument('<module>', 'What exports the job: job.js, job.mjs, or job.ts where tsx is installed.')
    .addOption(optionOf('-o, --output', folder, 'Folder of the job.').makeOptionMandatory())
    .action(async (module: string, flags: CompileFlags) => (await load()).compile(module, flags, io))
  addScheduler(job, io)
  addServer(job, io)
  addTrainer(job, io)
}

const FOLDER = ['<folder>', 'Folder of the job, as "sotto job compile" made it.'] as const

/** What all parties take. */
function common(command: Command): Command {
  return command
    .argument(...FOLDER)
    .addOption(optionOf('--identity', file, 'File with its long-term key, made by "sotto keygen"; else a new key.'))
    .addOption(
      optionOf(
        '--peers',
        file,
        'YAML or JSON file of the keys that parties must hold: trainer-1, …, server, scheduler. Without it the ' +
          'scheduler is taken at its word as to whose key is whose.',
      ),
    )
    .addOption(optionOf('--wait', whole('ms'), 'How long to wait for the other parties.').default(WAIT))
}

/** What parties take that dial the scheduler. */
function dialling(command: Command): Command {
  return command
    .addOption(optionOf('--scheduler', url, 'Where the scheduler is, unless where the job says.'))
    .addOption(optionOf('--pin', key, 'Key that the scheduler must hold.'))
    .addOption(optionOf('--token', text('a token', 'token'), 'Token from the scheduler; other users can read it here.'))
    .addOption(optionOf('--token-file', file, 'File with that token; without either, SOTTO_TOKEN of the environment.'))
    .addOption(optionOf('--ca', file, 'Authorities to trust when dialling, in PEM.'))
    .option('--insecure', 'Shows the token without TLS.')
}

/** What parties take that listen. */
function listening(command: Command): Command {
  return command
    .addOption(optionOf('--host', text('an address', 'address', 256), 'Address to listen at; 127.0.0.1 unless given.'))
    .addOption(optionOf('--port', whole('number', 65_535), 'Port to listen at, unless the one in the job.'))
    .addOption(optionOf('--tls-cert', file, 'Certificate, in PEM.'))
    .addOption(optionOf('--tls-key', file, 'Key of that certificate, in PEM.'))
}

const data = (help: string) => optionOf('--data', files, help)
const columns = optionOf('--columns', lists('a,b', 'columns'), 'The columns of a .csv file to take, in this order.')

function addScheduler(job: Command, io: Io): void {
  listening(common(job.command('scheduler')))
    .description('Waits for all parties of a job, and says who takes part in each round. It sees no data and no model.')
    .addOption(optionOf('--tokens', file, 'File of the tokens of parties, kept by "sotto token --identity trainer-1".'))
    .option('--insecure', 'Lets anyone be a party who can reach it, and comes first.')
    .action(async (path: string, flags: SchedulerFlags) => (await load()).scheduler(path, flags, io))
}

function addServer(job: Command, io: Io): void {
  listening(dialling(common(job.command('server'))))
    .description('Waits for trainers that dial in, runs the rounds of a job over them, and keeps the model.')
    .addOption(data('Examples of its own to evaluate the model on: x and y, each a .npy, .csv or IDX file.'))
    .addOption(columns)
    .addOption(optionOf('--output', folder, 'Folder for model, metrics and checkpoint; trained/ in that of the job.'))
    .option('--resume', 'Goes on from the checkpoint of the last round; trainers that wait need its --identity.')
    .action(async (path: string, flags: ServerFlags) => (await load()).server(path, flags, io))
}

function addTrainer(job: Command, io: Io): void {
  dialling(common(job.command('trainer')))
    .description('Trains on data that stays with its owner, and dials out to the server of a job.')
    .addOption(optionOf('--id', whole('number'), 'Which trainer it is, from 1.').makeOptionMandatory())
    .addOption(data('Its examples: x and y, and perhaps test-x and test-y, each a .npy, .csv or IDX file.'))
    .addOption(columns)
    .addOption(optionOf('--server', url, 'Where the server is, unless where the job says.'))
    .option(
      '--allow-pairs',
      'Takes part in sums of two trainers: the other one then knows this one’s part, and so does the server with its ' +
        'help. The data itself stays hidden from both.',
    )
    .option(
      '--allow-clear',
      'Takes part where updates are averaged in clear: the server then sees each update, and may see whatever else it ' +
        'computes from the data.',
    )
    .option('--ledger', 'Prints at the end who saw what of the data.')
    .action(async (path: string, flags: TrainerFlags) => (await load()).trainer(path, flags, io))
}
