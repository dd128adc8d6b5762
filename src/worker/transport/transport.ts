/** What carries frames between two ends. The smallest interface that will do; one file per kind beside this one. */
import type { Frame } from '../protocol.ts'

export interface Traffic {
  framesIn: number
  framesOut: number
  bytesIn: number
  bytesOut: number
}

/** One end of a connection. Frames arrive in the order in which they were sent, each once, until it closes. */
export interface Transport {
  /** Sends a frame; does nothing once closed. */
  send(frame: Frame): void
  /** Closes both ends. The reason reaches the listeners of both. */
  close(reason?: Error): void
  /** Sets who gets the frames that arrive. A frame that is no frame comes as the error that says so. */
  onFrame(listener: (frame: Frame | Error) => void): void
  onClose(listener: (reason: Error | undefined) => void): void
  readonly traffic: Readonly<Traffic>
  /** Whether a frame has been handled at the other end when `send` returns. */
  readonly isSynchronous: boolean
}
