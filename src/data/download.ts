/** Fetches one file over HTTP into memory: bounded in size and in time, with a progress bar where someone watches. */
import { SingleBar } from 'cli-progress'

export interface DownloadOptions {
  /** What the progress bar calls the file. */
  readonly label: string
  /** A longer body is refused before it is all here. */
  readonly maxBytes: number
  readonly signal?: AbortSignal | undefined
  /** Milliseconds until the server must have answered. Default: 3,000, so that a machine without network soon knows. */
  readonly answerTimeout?: number | undefined
  /** Milliseconds that may pass between two pieces of the body. Default: 10,000; slow is not dead. */
  readonly idleTimeout?: number | undefined
}

/**
 * @returns the body
 * @throws Error when the server does not answer, answers anything but 2xx, falls silent, or sends too much; the reason
 * of `signal` when that was aborted
 */
export async function download(url: string, options: DownloadOptions): Promise<Uint8Array> {
  const { label, maxBytes, signal, answerTimeout = 3_000, idleTimeout = 10_000 } = options
  const ours = new AbortController()
  const give = (ms: number, what: string) => setTimeout(() => ours.abort(new Error(`${what} within ${ms} ms`)), ms)

  let timer = give(answerTimeout, 'no answer')
  let bar: SingleBar | undefined
  try {
    const response = await fetch(url, { signal: signal ? AbortSignal.any([signal, ours.signal]) : ours.signal })
    if (!response.ok || response.body === null) {
      await response.body?.cancel()
      throw new Error(`HTTP ${response.status}`)
    }
    const declared = Number(response.headers.get('content-length'))
    if (declared > maxBytes) {
      await response.body.cancel()
      throw new Error(`it declares ${declared} bytes, more than the ${maxBytes} expected at most`)
    }
    bar = progressBar(label, declared)

    const pieces: Uint8Array[] = []
    let received = 0
    clearTimeout(timer)
    timer = give(idleTimeout, 'nothing more')
    for await (const piece of response.body as AsyncIterable<Uint8Array>) {
      timer.refresh()
      received += piece.length
      if (received > maxBytes) throw new Error(`it sent more than the ${maxBytes} bytes expected at most`)
      pieces.push(piece)
      bar?.update(received)
    }
    return Buffer.concat(pieces, received)
  } finally {
    clearTimeout(timer)
    bar?.stop()
  }
}

/** A bar on standard error, so that standard output stays the program's own; none where that is no terminal. */
function progressBar(label: string, total: number): SingleBar | undefined {
  if (!process.stderr.isTTY || !(total > 0)) return undefined
  const bar = new SingleBar({
    stream: process.stderr,
    format: `${label} {bar} {percentage}% of ${(total / 1e6).toFixed(1)} MB`,
    clearOnComplete: true,
    hideCursor: true,
  })
  bar.start(total, 0)
  return bar
}
