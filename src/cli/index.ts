#!/usr/bin/env node
/** The `sotto` command. */
import process from 'node:process'
import { setFlagsFromString } from 'node:v8'
import { main } from './program.ts'

// V8 counts memory of arrays that came and went as if it were the heap's, and collects the whole heap for it: of a party of
// a secret computation an eighth of its time. The heap may grow fourfold between collections.
setFlagsFromString('--heap-growing-percent=300')

// Whoever reads the output may stop reading.
process.stdout.on('error', ({ code }: NodeJS.ErrnoException) => process.exit(code === 'EPIPE' ? 0 : 1))

process.exitCode = await main(process.argv.slice(2), {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  isTerminal: process.stderr.isTTY === true,
  env: process.env,
  signals: process,
  exit: (code) => process.exit(code),
})

/** Milliseconds for what is still open to end by itself. */
const LEFT = 1000
setTimeout(() => process.exit(), LEFT).unref()
