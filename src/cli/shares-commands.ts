/** `sotto shares`: its subcommands and flags. */
import type { Command } from 'commander'
import type { Io } from './io.ts'
import { folder, oneOf, text, whole } from './kinds.ts'
import { optionOf } from './option.ts'
import type { JoinFlags, SplitFlags } from './shares.ts'

// The commands load what they need when they run: the tensor engine takes a second.
const load = () => import('./shares.ts')

export function addShares(program: Command, io: Io): void {
  const shares = program.command('shares').description('Splits numbers into parts of a secret, and joins them again.')
  shares
    .command('split')
    .description('Writes one file for each party. None of them says anything of the numbers; all of them together do.')
    .argument('<file>', 'Numbers: a .csv, .npy or IDX file. The header of a table is public.')
    .addOption(optionOf('--parties', whole('number', 256), 'How many there are.').default(3))
    .addOption(
      optionOf(
        '--protocol',
        oneOf(['replicated', 'additive'], 'name'),
        'replicated: three parts, of which any two say all; additive: all are needed. Replicated of three unless given.',
      ),
    )
    .addOption(optionOf('--out', folder, 'Folder for the parts; none is written over.').makeOptionMandatory())
    .addOption(
      optionOf('--ring', whole('bits', 128), 'Bits of the integers that numbers become; 64 unless given, or 128.'),
    )
    .addOption(optionOf('--base', whole('number'), 'Base of the digits after the point; 2 unless given.'))
    .addOption(
      optionOf(
        '--digits',
        whole('number'),
        'How many of them are kept; 16, of 128 bits 32, in base 10 3, unless given.',
      ),
    )
    .action(async (path: string, flags: SplitFlags) => (await load()).splitFile(path, flags, io))
  shares
    .command('join')
    .description('Puts parts together: all of them, or two of replicated sharing.')
    .argument('<files...>', 'The parts, in any order.')
    .addOption(
      optionOf(
        '--out',
        text('the path of a file', 'file'),
        'A .csv or .npy file, which must not be there yet.',
      ).makeOptionMandatory(),
    )
    .action(async (paths: readonly string[], flags: JoinFlags) => (await load()).joinFiles(paths, flags, io))
}
