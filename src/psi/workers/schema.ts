/** What every message of private set intersection must look like. What workers say to each other, the protocol checks. */
import * as v from 'valibot'
import { fields } from '../../worker/schema.ts'
import { LARGEST } from '../channel.ts'
import { LARGEST_SET } from '../cuckoo.ts'
import { protocols, reveals } from '../two-party.ts'
import type { PsiMessage, PsiMessages } from './messages.ts'

const { id, out, name, count, bytes } = fields
/** As many as a ring may have. */
const MOST_PARTIES = 256
/** A day: longer than anybody waits. */
const LONGEST = 86_400_000

export const psiSchemas: { readonly [N in PsiMessage]: v.GenericSchema<unknown, PsiMessages[N]['request']> } = {
  psiRun: v.strictObject({
    run: out,
    ids: id,
    out,
    parties: v.pipe(
      v.array(name),
      v.minLength(2),
      v.maxLength(MOST_PARTIES),
      v.check((list) => new Set(list).size === list.length, 'each once'),
    ),
    index: count,
    reveal: v.picklist(reveals),
    protocol: v.picklist(Object.keys(protocols)),
    padTo: v.nullable(v.pipe(count, v.maxValue(LARGEST_SET))),
    timeout: v.nullable(v.pipe(v.number(), v.gtValue(0), v.maxValue(LONGEST))),
  }) as never,
  psiMessage: v.strictObject({
    run: out,
    message: v.nullable(v.pipe(bytes, v.minLength(1), v.maxLength(LARGEST + 1))),
  }),
}
