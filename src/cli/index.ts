#!/usr/bin/env node
/** The `sotto` command. */
import process from 'node:process'
import { main } from './program.ts'

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
