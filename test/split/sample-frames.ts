/** A sample of what split learning adds to the protocol: a message that is missing does not compile. */
import type { MatchedRowsMessages } from '../../src/split/matched-rows.ts'
import { type Frame, FrameKind } from '../../src/worker/protocol.ts'

export const sampleBodies: { readonly [N in keyof MatchedRowsMessages]: MatchedRowsMessages[N]['request'] } = {
  matchedRows: { id: 'x1', rows: 'r1', out: 'a1', labels: { tags: ['#aligned'], description: 'features' } },
}

export const sampleFrames: readonly Frame[] = [[FrameKind.request, 67, 'matchedRows', sampleBodies.matchedRows]]
