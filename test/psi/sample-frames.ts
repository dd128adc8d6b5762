/** A body for every message of private set intersection, and the frames that PROTOCOL.md shows. */
import type { PsiMessage, PsiMessages, PsiReport } from '../../src/psi/workers/messages.ts'
import { type Frame, FrameKind } from '../../src/worker/protocol.ts'

const run = '5f0c954e-0ad6-4ab7-98f5-0c1a36a4de0d'

export const sampleBodies: { readonly [N in PsiMessage]: PsiMessages[N]['request'] } = {
  psiRun: {
    run,
    ids: 'x',
    out: 'rows',
    parties: ['bob', 'alice'],
    index: 0,
    reveal: 'both',
    protocol: 'fast',
    padTo: null,
    timeout: null,
  },
  psiMessage: { run, message: Uint8Array.of(10, 3, 0, 0, 0, 7, 0, 0, 0) },
}

const report: PsiReport = { size: 2, duplicates: null, empty: null, bytesSent: 9201, turns: 3 }

export const sampleFrames: readonly Frame[] = [
  [FrameKind.request, 80, 'psiRun', sampleBodies.psiRun],
  [FrameKind.reply, 80, report],
  [FrameKind.request, 81, 'psiMessage', sampleBodies.psiMessage],
  [FrameKind.request, 82, 'psiMessage', { run, message: null }],
]
