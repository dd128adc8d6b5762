/** A sample of what split learning adds to the protocol: a message that is missing does not compile. */
import type { AlignMessages } from '../../src/split/aligned-tables.ts'
import { type Frame, FrameKind } from '../../src/worker/protocol.ts'

const run = {
  run: 'i1',
  ids: 'k1',
  out: 'r1',
  parties: ['bob', 'alice'],
  index: 0,
  reveal: 'both',
  protocol: 'fast',
  padTo: null,
  timeout: null,
} as const

export const sampleBodies: { readonly [N in keyof AlignMessages]: AlignMessages[N]['request'] } = {
  alignTables: {
    run,
    tables: [{ id: 'x1', out: 'a1', labels: { tags: ['#aligned'], description: 'features' } }],
  },
}

export const sampleFrames: readonly Frame[] = [
  [FrameKind.request, 67, 'alignTables', sampleBodies.alignTables],
  [FrameKind.reply, 67, { size: 40, duplicates: null, empty: null, bytesSent: 4096, turns: 3 }],
]
