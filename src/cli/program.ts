/** The `sotto` command: its subcommands and flags, and how it ends. */
import { readFileSync } from 'node:fs'
import { Command, CommanderError } from 'commander'
import { isSottoError } from '../errors.ts'
import type { ConnectionFlags } from './connection.ts'
import { type Io, UsageError } from './io.ts'
import { addJob } from './job-commands.ts'
import { type Kind, key, text, whole } from './kinds.ts'
import { optionOf } from './option.ts'
import { addPsi } from './psi-command.ts'
import { addRoles } from './roles-commands.ts'
import { addShares } from './shares-commands.ts'
import type { NewToken } from './token.ts'
import { flagOf, workerOptions } from './worker-options.ts'

/**
 * Runs the command.
 *
 * @param args without the names of the runtime and the script
 * @returns the exit code: 0 when all went well, 1 when something was refused or failed, 2 for what was not well put
 */
export async function main(args: readonly string[], io: Io): Promise<number> {
  try {
    await programFor(io).parseAsync([...args], { from: 'user' })
    return 0
  } catch (error) {
    // Commander has said it.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2
    const isUsage = error instanceof UsageError
    if (!isUsage && !isSottoError(error) && !isOfSystem(error)) throw error
    io.err(`sotto: ${error.message.split('\n', 1)[0]}\n`)
    return isUsage ? 2 : 1
  }
}

/** Such as a port that is taken. What is neither this nor Sotto's is a mistake in here, and wants its stack. */
const isOfSystem = (error: unknown): error is Error => error instanceof Error && 'syscall' in error

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string
}

function programFor(io: Io): Command {
  const program = new Command('sotto')
    .description('Private machine learning: data stays with its owner, pointers travel.')
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: (line) => io.out(line),
      writeErr: (line) => io.err(line),
      outputError: (line, write) => write(line.replace(/^error: /, 'sotto: ')),
    })
    .showHelpAfterError('(--help tells what there is)')
  addWorker(program, io)
  addKeygen(program, io)
  addToken(program, io)
  addStatus(program, io)
  addLedger(program, io)
  addJob(program, io)
  addPsi(program, io)
  addShares(program, io)
  addRoles(program, io)
  return program
}

// The commands load what they need when they run: the tensor engine takes a second.

function addWorker(program: Command, io: Io): void {
  const command = program
    .command('worker')
    .description('Runs a worker until a signal ends it.')
    .option('--config <file>', 'YAML or JSON file with these options, by their names in camel case; flags win.')
  for (const [option, { group, kind, help }] of Object.entries(workerOptions)) {
    command.addOption(optionOf(flagOf(option), kind as Kind<unknown>, help).helpGroup(`${group}:`))
  }
  command.action(async ({ config, ...flags }: Record<string, unknown>) => {
    const { settingsOf } = await import('./settings.ts')
    const settings = await settingsOf(flags, config as string | undefined)
    const { runWorker } = await import('./worker.ts')
    await runWorker(settings, io)
  })
}

function addKeygen(program: Command, io: Io): void {
  program
    .command('keygen')
    .description('Makes a long-term key, and prints its public half.')
    .option('-o, --output <file>', 'File for the secret half, which must not be there yet.', 'sotto.key')
    .action(async ({ output }: { output: string }) => {
      const { keygen } = await import('./keygen.ts')
      await keygen(output, io)
    })
}

function addToken(program: Command, io: Io): void {
  const load = () => import('./token.ts')
  const token = program.command('token').description('Makes, lists and revokes tokens that let callers in.')
  const tokens = ['--tokens <file>', 'File of the tokens, which the worker is started with.'] as const
  token
    .command('create', { isDefault: true })
    .description('Makes a token and prints it, once (the command, unless another is named).')
    .requiredOption('--identity <name>', 'Whom its bearer is taken for.')
    .requiredOption(...tokens)
    .option(
      '--rights <rights>',
      'What it is good for, out of work,ledger,stats, all unless given; or secrets, the part of work that shows nothing.',
    )
    .option('--expires <when>', 'When it ends: 30d, 12h, 90m, or a date; never unless given.')
    .action(async (options: NewToken) => (await load()).createdToken(options, io))
  token
    .command('list')
    .description('Lists the tokens of a file, without what would let anybody in.')
    .requiredOption(...tokens)
    .action(async ({ tokens: path }: { tokens: string }) => (await load()).listTokens(path, io))
  token
    .command('revoke')
    .description('Takes a token away; sessions that it has begun go on.')
    .argument('<id>', 'The letters and digits between the two underscores.')
    .requiredOption(...tokens)
    .action(async (id: string, { tokens: path }: { tokens: string }) => (await load()).revokeToken(id, path, io))
}

function addConnection(command: Command): Command {
  const milliseconds = whole('ms')
  return command
    .argument('<url>', 'Where the worker is: wss://host:8777.')
    .addOption(optionOf('--token', text('a token', 'token'), 'Token of the caller; other users can read it here.'))
    .option('--token-file <file>', 'File with that token; without either, SOTTO_TOKEN of the environment.')
    .addOption(optionOf('--pin', key, 'Key that the worker must hold.'))
    .option('--ca <file>', 'Authorities to trust, in PEM.')
    .option('--cert <file>', 'Certificate to show, in PEM.')
    .option('--key <file>', 'Key of that certificate, in PEM.')
    .option('--insecure', 'Sends the token where others could read it.')
    .addOption(optionOf('--timeout', milliseconds, 'How long to wait for an answer.').default(10_000))
}

function addStatus(program: Command, io: Io): void {
  addConnection(program.command('status').description('Tells how a worker is, and what it has to do.')).action(
    async (url: string, flags: ConnectionFlags) => {
      const { printStatus } = await import('./status.ts')
      await printStatus(url, flags, io)
    },
  )
}

function addLedger(program: Command, io: Io): void {
  addConnection(program.command('ledger').description('Tells who saw what of the data on a worker.'))
    .option('--json', 'Prints each entry as a line of JSON.')
    .action(async (url: string, flags: ConnectionFlags & { json?: boolean }) => {
      const { printLedger } = await import('./ledger.ts')
      await printLedger(url, flags, io)
    })
}
