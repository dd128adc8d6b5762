/** What carries messages of bytes between two ends until it breaks: a WebSocket, or a tunnel through a third party. */
export interface Channel {
  /** Sends a message; does nothing once closed. The bytes are not changed afterwards. */
  send(message: Uint8Array): void
  /** Bytes handed over that have not left yet. */
  readonly buffered: number
  /** Sets who is told when what was buffered has left. */
  onDrain(listener: () => void): void
  /** Sets who gets the messages; those that came while there was nobody, null, are given first. */
  onMessage(listener: ((message: Uint8Array) => void) | null): void
  onClose(listener: (reason: Error | undefined) => void): void
  close(): void
  /** How messages go: to the other end itself, or past somebody who could read what is not sealed. */
  readonly route: 'direct' | 'relayed'
  /** SHA-256 of the certificate that the other end showed, in hex, if it did; and whether an authority vouches for it. */
  readonly certificate: { readonly fingerprint: string; readonly isTrusted: boolean } | null
}
