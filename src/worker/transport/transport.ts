/** What carries frames between two ends. The smallest interface that will do; one file per kind beside this one. */
import type { Progress } from '../../tensor/location.ts'
import type { Frame } from '../protocol.ts'

export interface Traffic {
  framesIn: number
  framesOut: number
  bytesIn: number
  bytesOut: number
}

/** The large parts of a frame that arrive after it. */
export interface Following {
  /** Settles when the frame is whole, or will never be. */
  readonly whole: Promise<void>
  /** Bytes of them all. */
  readonly total: number
  /** Keeps none of them: the frame stays as it is. */
  drop(): void
  onProgress(listener: (progress: Progress) => void): void
}

/** One end of a connection. Frames arrive in the order in which they were sent, each once, until it closes. */
export interface Transport {
  /**
   * Sends a frame; does nothing once closed.
   *
   * @throws what {@link check} does; then nothing was sent
   */
  send(frame: Frame, onProgress?: (progress: Progress) => void): void
  /** @throws SessionError `ERR_LIMIT` for a frame that is larger than the other end takes; ProtocolError for what does not travel */
  check?(frame: Frame): void
  /** Closes both ends. The reason reaches the listeners of both. */
  close(reason?: Error): void
  /**
   * Sets who gets the frames that arrive. A frame that is no frame comes as the error that says so. Of a frame whose
   * large parts are still under way, what is there comes in its turn, with nulls in their places until it is whole.
   */
  onFrame(listener: (frame: Frame | Error, following?: Following) => void): void
  onClose(listener: (reason: Error | undefined) => void): void
  readonly traffic: Readonly<Traffic>
  /** Whether a frame has been handled at the other end when `send` returns. */
  readonly isSynchronous: boolean
  /** Bytes that were sent and have not arrived, as far as this end knows. */
  readonly backlog: number
  /** Calls back once when the backlog has become small. */
  onDrain(listener: () => void): void
  /** A count that grows as long as something passes, either way. */
  readonly passed?: number
  /** Whether frames pass a third party, sealed; of a link that has not begun, no. */
  readonly isRelayed?: boolean
  /** Calls back once when it begins, unless it has. */
  onBegin?(listener: () => void): void
  /** Whether somebody waits for what comes: then the process should not end. */
  hold?(isHeld: boolean): void
}
