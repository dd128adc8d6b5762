/** Channels over WebSockets: the `ws` package in Node, the global WebSocket elsewhere. */
import type { TLSSocket } from 'node:tls'
import type { WebSocket as NodeSocket } from 'ws'
import { isSottoError, sottoError } from '../../errors.ts'
import { isLoopback } from '../loopback.ts'
import type { Channel } from './channel.ts'

/** How to trust a server, and what to show it. Node only: a browser has its own ways. */
export interface TlsOptions {
  /** Certificates of authorities, in PEM, instead of those that the system trusts. */
  readonly ca?: string | Uint8Array
  /** Certificate and key of this end, in PEM, for a server that asks for one. */
  readonly cert?: string | Uint8Array
  readonly key?: string | Uint8Array
}

/** Bytes of a message that a dialler takes: the answers of who it chose to dial. */
export const DIALLER_MESSAGE = 64 * 2 ** 20

/** A channel over a socket of `ws` that is open. */
export function nodeChannel(socket: NodeSocket, certificate: Channel['certificate']): Channel {
  const early: Uint8Array[] = []
  const closeListeners: ((reason: Error | undefined) => void)[] = []
  let onMessage: ((message: Uint8Array) => void) | null = null
  let onDrain: (() => void) | null = null
  let failure: Error | undefined
  let isClosed = false
  socket.on('message', (data: Buffer, isBinary) => {
    // Nobody listens any more, and the other end need not have heard of it.
    if (socket.readyState !== socket.OPEN && onMessage === null) return
    // A text message is none of ours; it is read as one that is malformed.
    const message = isBinary ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : new Uint8Array(0)
    if (onMessage !== null) return onMessage(message)
    early.push(message)
    // What nobody listens to waits at the other end.
    socket.pause()
  })
  socket.on('error', (error) => {
    failure = error
  })
  socket.on('close', (code) => {
    isClosed = true
    if (code === TOO_BIG) failure ??= tooBig()
    for (const listener of closeListeners.splice(0)) listener(failure)
  })
  const sent = () => onDrain?.()
  return {
    route: 'direct',
    certificate,
    get buffered() {
      return socket.bufferedAmount
    },
    send(message) {
      if (socket.readyState === socket.OPEN) socket.send(message, sent)
    },
    onMessage(listener) {
      onMessage = listener
      while (onMessage !== null && early.length > 0) onMessage(early.shift()!)
      if (onMessage !== null) socket.resume()
    },
    onDrain(listener) {
      onDrain = listener
    },
    onClose(listener) {
      if (isClosed) listener(failure)
      else closeListeners.push(listener)
    },
    close() {
      if (socket.readyState >= socket.CLOSING) return
      early.length = 0
      onMessage = null
      socket.resume()
      socket.close()
      // The other end may be gone, or not wish to say goodbye.
      const timer = setTimeout(() => socket.terminate(), GOODBYE)
      socket.once('close', () => clearTimeout(timer))
      timer.unref()
    },
  }
}

/** Milliseconds for the other end to answer a close. */
const GOODBYE = 2000
/** What a WebSocket is closed with when a message was too big (RFC 6455 §7.4.1). */
const TOO_BIG = 1009
const tooBig = (): Error => sottoError('ERR_LIMIT', 'a message was too big for the other end')
/** Milliseconds between looks at how much a browser has sent: it does not say. */
const LOOK = 10

/** A channel over the global WebSocket. */
function globalChannel(socket: WebSocket): Channel {
  const early: Uint8Array[] = []
  const closeListeners: ((reason: Error | undefined) => void)[] = []
  let onMessage: ((message: Uint8Array) => void) | null = null
  let onDrain: (() => void) | null = null
  let isLooking = false
  let isClosed = false
  let failure: Error | undefined
  socket.addEventListener('message', ({ data }) => {
    const message = data instanceof ArrayBuffer ? new Uint8Array(data) : new Uint8Array(0)
    if (onMessage === null) early.push(message)
    else onMessage(message)
  })
  socket.addEventListener('close', ({ code }) => {
    isClosed = true
    failure = code === TOO_BIG ? tooBig() : undefined
    for (const listener of closeListeners.splice(0)) listener(failure)
  })
  const look = () => {
    isLooking = socket.bufferedAmount > 0 && !isClosed
    if (isLooking) setTimeout(look, LOOK)
    onDrain?.()
  }
  return {
    route: 'direct',
    // A browser has checked it, and does not show it.
    certificate: null,
    get buffered() {
      return socket.bufferedAmount
    },
    send(message) {
      if (socket.readyState !== WebSocket.OPEN) return
      socket.send(message as Uint8Array<ArrayBuffer>)
      if (!isLooking) setTimeout(look, LOOK)
      isLooking = true
    },
    onMessage(listener) {
      onMessage = listener
      while (onMessage !== null && early.length > 0) onMessage(early.shift()!)
    },
    onDrain(listener) {
      onDrain = listener
    },
    onClose(listener) {
      if (isClosed) listener(failure)
      else closeListeners.push(listener)
    },
    close() {
      socket.close()
    },
  }
}

/**
 * Connects to a server.
 *
 * @param vouched whether something else than its authorities will vouch for the certificate of the server
 * @throws SessionError `ERR_UNREACHABLE` when nobody is there, or says no; AccessError `ERR_CERTIFICATE`
 */
export async function dialWebSocket(
  url: string,
  { tls = {}, vouched, signal }: { tls?: TlsOptions; vouched: boolean; signal: AbortSignal },
): Promise<Channel> {
  signal.throwIfAborted()
  if (globalThis.process?.versions?.node === undefined) return dialGlobal(url, signal)
  const { WebSocket } = await import('ws')
  signal.throwIfAborted()
  const socket = new WebSocket(url, {
    perMessageDeflate: false,
    maxPayload: DIALLER_MESSAGE,
    rejectUnauthorized: !vouched,
    ...(isUnseen(url) ? { generateMask: noMask } : {}),
    ...asNode(tls),
  })
  return new Promise((resolve, reject) => {
    let certificate: Channel['certificate'] = null
    const abort = () => {
      socket.terminate()
      reject(signal.reason)
    }
    signal.addEventListener('abort', abort, { once: true })
    const settled = () => signal.removeEventListener('abort', abort)
    socket.once('upgrade', ({ socket: raw }) => {
      const shown = raw as Partial<TLSSocket>
      const peer = shown.getPeerCertificate?.()
      if (peer?.raw !== undefined) {
        const fingerprint = peer.fingerprint256.replaceAll(':', '').toLowerCase()
        certificate = { fingerprint, isTrusted: shown.authorized === true }
      }
    })
    socket.once('open', () => {
      settled()
      resolve(nodeChannel(socket, certificate))
    })
    socket.on('error', (error) => {
      settled()
      reject(failureOf(url, error))
    })
  })
}

/**
 * Masks keep what a client sends from looking like HTTP to a proxy on the way (RFC 6455 §10.3). Inside TLS and on the
 * machine itself there is none, and a mask of zeros, which `ws` then leaves out, saves a pass over all bytes.
 */
const noMask = (mask: Buffer): void => {
  mask.fill(0)
}
function isUnseen(url: string): boolean {
  const { protocol, hostname } = new URL(url)
  return protocol === 'wss:' || isLoopback(hostname)
}

const asNode = ({ ca, cert, key }: TlsOptions) => {
  const buffer = (pem: string | Uint8Array) => (typeof pem === 'string' ? pem : Buffer.from(pem))
  return {
    ...(ca === undefined ? {} : { ca: buffer(ca) }),
    ...(cert === undefined ? {} : { cert: buffer(cert) }),
    ...(key === undefined ? {} : { key: buffer(key) }),
  }
}

/** Codes of OpenSSL and Node for certificates that are not to be trusted. */
const DISTRUST = /CERT|SELF_SIGNED|ISSUER|ALTNAME|HOSTNAME|UNABLE_TO_/

function failureOf(url: string, error: Error & { code?: string }): Error {
  if (isSottoError(error)) return error
  const { code = '', message } = error
  if (DISTRUST.test(code)) {
    return sottoError(
      'ERR_CERTIFICATE',
      `the certificate of ${url} is not to be trusted: ${message}`,
      { url, cause: code },
      error,
    )
  }
  return sottoError('ERR_UNREACHABLE', `no connection to ${url}: ${message || code}`, { url, cause: code }, error)
}

async function dialGlobal(url: string, signal: AbortSignal): Promise<Channel> {
  let socket: WebSocket
  try {
    socket = new WebSocket(url)
  } catch (error) {
    // A page that came over https may not speak ws.
    throw sottoError('ERR_UNREACHABLE', `no connection to ${url}: ${(error as Error).message}`, { url }, error)
  }
  socket.binaryType = 'arraybuffer'
  return new Promise((resolve, reject) => {
    const abort = () => {
      socket.close()
      reject(signal.reason)
    }
    signal.addEventListener('abort', abort, { once: true })
    socket.addEventListener('open', () => {
      signal.removeEventListener('abort', abort)
      resolve(globalChannel(socket))
    })
    socket.addEventListener('error', () => {
      signal.removeEventListener('abort', abort)
      // A browser does not tell a script why.
      reject(sottoError('ERR_UNREACHABLE', `no connection to ${url}`, { url }))
    })
  })
}
