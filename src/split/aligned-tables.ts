/**
 * The message by which a worker intersects its ids with those of others, and takes the rows of its tables that are
 * shared: a table of its own beside the worker's, in the same form.
 *
 * One message and not two, so that the numbers of the rows are in nobody's hands between: as private as the ids, they
 * would make all that they choose as private; and if they did not, whoever commands could put others in their place,
 * computed from the ids, and read these off rows that it may see results of.
 */
import * as v from 'valibot'
import type { PsiMessages, PsiReport } from '../psi/workers/messages.ts'
import { psiSchemas } from '../psi/workers/schema.ts'
import type { Labels, ObjectId } from '../tensor/location.ts'
import { opRow } from '../tensor/ops.ts'
import type { Spec } from '../tensor/shape.ts'
import { checkRoom, compute, failureOf, findOperand, valueFor } from '../worker/handlers/compute.ts'
import type { HostSession } from '../worker/host-session.ts'
import { addMessages, messageRow } from '../worker/messages.ts'
import { type Access, accessOfRows, derivedFrom } from '../worker/permissions.ts'
import { fields } from '../worker/schema.ts'
import type { Worker } from '../worker/worker.ts'

/** A tensor of which rows are to be taken, and under which id and labels. */
export interface Taken {
  readonly id: ObjectId
  readonly out: ObjectId
  readonly labels: Labels
}

export type AlignMessages = {
  /**
   * Carries out a `psiRun` that reveals to both, keeps of each tensor the rows that are shared, and forgets which they
   * are.
   */
  alignTables: {
    request: { readonly run: PsiMessages['psiRun']['request']; readonly tables: readonly Taken[] }
    response: PsiReport
  }
}
type AlignRequest = AlignMessages['alignTables']['request']

/** Columns and labels, of each owner. */
const MOST_TABLES = 2

const gather = opRow('gather')
const FIRST_AXIS = gather.attrs(...([0] as never[]))

/** @param ids who may see what is computed of the ids: who may learn of matches by `intersect` is not among them */
function takeRows(session: HostSession, { id, out, labels }: Taken, rows: ObjectId, ids: Access): void {
  const found = [findOperand(session, id), findOperand(session, rows)] as const
  const [values, chosen] = found
  const spec = gather.spec([values.spec, chosen.spec], FIRST_AXIS) as Spec
  checkRoom(session, 'alignedDataset', [spec])
  const access = accessOfRows(values.access, session.host.store.read(id, session).owner, ids)
  compute(
    session,
    [out],
    { access, tracked: [], failure: failureOf(found), labels, isPart: true },
    (isBlank) => gather.run([valueFor(values, isBlank), valueFor(chosen, isBlank)] as never, FIRST_AXIS),
    () => [spec],
  )
}

addMessages<AlignMessages>({
  alignTables: {
    schema: v.strictObject({
      run: v.pipe(
        psiSchemas.psiRun,
        v.check(({ reveal }) => reveal === 'both', 'revealed to both'),
      ),
      tables: v.pipe(
        v.array(v.strictObject({ id: fields.id, out: fields.out, labels: fields.labels })),
        v.maxLength(MOST_TABLES),
      ),
    }) as v.GenericSchema<unknown, AlignRequest>,
    async handle(session, { run, tables }) {
      // Nothing else of this session is done meanwhile: nobody can use the rows before they are forgotten.
      const report = (await messageRow('psiRun')!.handle(session, run)) as PsiReport
      try {
        const ids = derivedFrom(session.host.store.read(run.ids, session).access)
        for (const table of tables) takeRows(session, table, run.out, ids)
      } finally {
        session.host.store.free(run.out)
      }
      return report
    },
    isAsk: true,
    isFromPeer: false,
    right: 'work',
  },
})

export function askToAlign(worker: Worker, request: AlignRequest, signal?: AbortSignal): Promise<PsiReport> {
  // Typed by the table above; the worker knows those of its own alone.
  return worker.ask(
    'alignTables' as never,
    request as never,
    signal === undefined ? {} : { signal },
  ) as unknown as Promise<PsiReport>
}
