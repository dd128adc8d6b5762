/** What a command has to do with the process that it runs in. */

/** The process, or what stands for it. */
export interface Io {
  /** To standard output: what a script would read. */
  out(text: string): void
  /** To standard error: what a person would read. */
  err(text: string): void
  /** Whether standard error is a terminal. */
  readonly isTerminal: boolean
  readonly env: Readonly<Record<string, string | undefined>>
  readonly signals: Signals
  /** Ends the process at once. */
  exit(code: number): void
}

/** Where signals come from. */
export interface Signals {
  on(signal: Signal, listener: () => void): unknown
  off(signal: Signal, listener: () => void): unknown
}

export type Signal = 'SIGINT' | 'SIGTERM' | 'SIGHUP'

/** What was asked for is not well put, on the command line or in a configuration file: exit code 2. */
export class UsageError extends Error {
  override get name(): string {
    return 'UsageError'
  }
}
