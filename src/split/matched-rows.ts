/**
 * The message by which a worker takes those rows of a tensor that an intersection of ids has named: a table of its own
 * beside the worker's, in the same form. As `gather` does it, but for who may see the result: see `accessOfRows`.
 */
import * as v from 'valibot'
import { type Labels, newId, type ObjectId } from '../tensor/location.ts'
import { opRow } from '../tensor/ops.ts'
import { PointerTensor } from '../tensor/pointer.ts'
import type { Spec } from '../tensor/shape.ts'
import { checkRoom, compute, failureOf, findOperand, valueFor } from '../worker/handlers/compute.ts'
import type { HostSession } from '../worker/host-session.ts'
import { addMessages } from '../worker/messages.ts'
import { accessOfRows } from '../worker/permissions.ts'
import { fields } from '../worker/schema.ts'

export type MatchedRowsMessages = {
  /** Stores the rows of a tensor that another tensor, int32 of shape [size], names, under labels. No gradient. */
  matchedRows: {
    request: { readonly id: ObjectId; readonly rows: ObjectId; readonly out: ObjectId; readonly labels: Labels }
    response: void
  }
}

const gather = opRow('gather')
const FIRST_AXIS = gather.attrs(...([0] as never[]))

addMessages<MatchedRowsMessages>({
  matchedRows: {
    schema: v.strictObject({ id: fields.id, rows: fields.id, out: fields.out, labels: fields.labels }),
    handle(session: HostSession, { id, rows, out, labels }) {
      const found = [findOperand(session, id), findOperand(session, rows)] as const
      const [values, chosen] = found
      const spec = gather.spec([values.spec, chosen.spec], FIRST_AXIS) as Spec
      checkRoom(session, 'alignedDataset', [spec])
      const access = accessOfRows(values.access, session.host.store.read(id, session).owner, chosen.access)
      compute(
        session,
        [out],
        { access, tracked: [], failure: failureOf(found), labels, isPart: true },
        (isBlank) => gather.run([valueFor(values, isBlank), valueFor(chosen, isBlank)] as never, FIRST_AXIS),
        () => [spec],
      )
    },
    isAsk: false,
    isFromPeer: false,
    right: 'work',
  },
})

/** The rows of a tensor that an intersection has named, on the worker of both, under labels. Returns at once. */
export function matchedRows(values: PointerTensor, rows: PointerTensor, labels: Labels): PointerTensor {
  const { location, dtype } = values
  const out = newId()
  const body = { id: values.use('alignedDataset'), rows: rows.use('alignedDataset'), out, labels }
  // Typed by the table above; the worker knows those of its own alone.
  location.tell('matchedRows' as never, body as never)
  const spec = { shape: [rows.shape[0]!, ...values.shape.slice(1)], dtype }
  return new PointerTensor({ location, id: out, spec, owns: true, isPublished: labels.tags.length > 0, labels })
}
