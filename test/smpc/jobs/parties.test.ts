/** The parties of a job in secret at their workers, over sockets: what a coordinator is given, and what it is refused. */
import {
  fixPrecision,
  Identity,
  type LedgerEntry,
  type SharedTensor,
  SocketWorker,
  serveWorker,
  share,
  type tf,
  type WorkerServer,
} from 'sotto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FixedPrecisionPointer } from '../../../src/smpc/fixed-pointer.ts'
import { runSecretJob } from '../../../src/smpc/jobs/coordinator.ts'
import { idOf, type SecretJob, secretJobFrom } from '../../../src/smpc/jobs/definition.ts'
import { type Brought, JobMember } from '../../../src/smpc/jobs/member.ts'
import { CONSENT, consentTo, type InputWire, type JobMessages } from '../../../src/smpc/jobs/messages.ts'
import { PointerTensor } from '../../../src/tensor/pointer.ts'
import type { KnownCaller } from '../../../src/worker/admission.ts'
import { allRights } from '../../../src/worker/tokens.ts'
import { readyForTest } from '../../backend.ts'

beforeAll(readyForTest)

const said = {
  name: 'sums',
  compute: ['s0', 's1', 's2'],
  inputs: { a: { from: 'ana' }, b: { from: 'bo' } },
  steps: [{ do: 'mean', of: ['a', 'b'], as: 'mean' }],
  revealTo: { mean: ['dana'] },
}
const job = secretJobFrom(said)
/** The same, of which bo has to consent to what is opened. */
const asking = secretJobFrom({ ...said, consent: ['bo'] })

/** Secrets that are found nowhere by chance. */
const A = [31415.5, -2]
const B = [2.5, 4]
const broughtOf = (values: number[]): Brought => {
  const { publicValue } = fixPrecision(values)
  return { parts: [{ value: publicValue.tensor, encoding: publicValue.encoding }], set: null }
}

interface Party {
  readonly server: WorkerServer
  readonly member: JobMember
}

/** A party's worker, which knows the keys of all. */
async function serve(
  of: SecretJob,
  name: string,
  keys: ReadonlyMap<string, Identity>,
  inputs: Record<string, Brought>,
): Promise<Party> {
  const isCompute = job.compute.includes(name)
  const known: KnownCaller = { identity: 's0', rights: isCompute ? allRights : ['secrets'] }
  const server = await serveWorker({
    id: name,
    port: 0,
    identity: keys.get(name)!,
    auth: { callers: (key) => (key === keys.get('s0')!.key ? known : null) },
    grace: 500,
  })
  const peers = Object.fromEntries([...keys].map(([party, { key }]) => [party, key]))
  for (const owner of ['ana', 'bo']) server.host.means({ owner, peers })
  const consent = of.consent?.includes(name) ? { consent: keys.get(name)! } : {}
  const options = { job: of, name, host: server.host, inputs, keys: Promise.resolve(peers) }
  return { server, member: new JobMember({ ...options, ...consent }) }
}

class Scene {
  readonly keys = new Map(['s0', 's1', 's2', 'ana', 'bo', 'dana', 'mallory'].map((name) => [name, Identity.generate()]))
  readonly parties = new Map<string, Party>()
  readonly #open: SocketWorker[] = []

  static async open(of = job): Promise<Scene> {
    const scene = new Scene()
    for (const name of scene.keys.keys()) {
      const inputs = name === 'ana' ? { a: broughtOf(A) } : name === 'bo' ? { b: broughtOf(B) } : {}
      scene.parties.set(name, await serve(of, name, scene.keys, inputs as Record<string, Brought>))
    }
    return scene
  }

  async connect(party: string, as = 's0'): Promise<SocketWorker> {
    const { url, key } = this.parties.get(party)!.server
    const worker = await SocketWorker.connect(url, { as: this.keys.get(as)!, pin: key, timeout: 5000, grace: 500 })
    this.#open.push(worker)
    return worker
  }

  ledger(party: string): readonly LedgerEntry[] {
    return this.parties.get(party)!.server.host.ledger.entries()
  }

  async close(): Promise<void> {
    await Promise.all(this.#open.map((worker) => worker.close()))
    await Promise.all([...this.parties.values()].map(({ server }) => server.close(500)))
  }
}

const ask = <N extends keyof JobMessages>(worker: SocketWorker, name: N, body: JobMessages[N]['request']) =>
  worker.ask(name as never, body as never) as Promise<JobMessages[N]['response']>
const codeOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => 'nothing',
    ({ code }: { code: string }) => code,
  )

describe('a job in secret', () => {
  it('opens its result to whom it says, and shows nothing to anybody else', async () => {
    const scene = await Scene.open()
    const said: string[] = []
    const script = async () => ({})
    await runSecretJob({
      job,
      connect: (party) => scene.connect(party),
      script: () => Promise.resolve(script),
      print: (line) => said.push(line),
    })
    const { mean } = await scene.parties.get('dana')!.member.ended
    expect(mean).toHaveLength(1)
    const expected = A.map((value, i) => (value + B[i]!) / 2)
    // A division is within a unit.
    mean![0]!.data.forEach((value, i) => {
      expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(2 ** -16)
    })
    for (const party of ['s0', 's1', 's2', 'ana', 'bo'])
      expect(await scene.parties.get(party)!.member.ended).toEqual({})
    for (const party of ['s0', 's1', 's2']) {
      const rows = scene.ledger(party)
      expect(rows.filter(({ to }) => to === party)).toEqual([])
      expect(rows.map(({ event, to }) => [event, to])).toEqual([['opened', 'dana']])
    }
    for (const party of ['ana', 'bo']) {
      expect(scene.ledger(party).map(({ event, to }) => [event, to])).toEqual([
        ['came', party],
        ['shared', 's0 + s1 + s2'],
      ])
    }
    expect(said).toContain('mean: opened to dana')
    await scene.close()
  })

  it('is refused to whoever is not its coordinator, and under another id', async () => {
    const scene = await Scene.open()
    await expect(scene.connect('ana', 'mallory')).rejects.toMatchObject({ code: 'ERR_IDENTITY' })
    await expect(scene.connect('s1', 'dana')).rejects.toMatchObject({ code: 'ERR_IDENTITY' })
    const { url } = scene.parties.get('ana')!.server
    await expect(SocketWorker.connect(url, { identity: 's0' })).rejects.toMatchObject({ code: 'ERR_IDENTITY' })
    const ana = await scene.connect('ana')
    expect(await codeOf(ask(ana, 'jobJoin', { job: 'ab'.repeat(32), nonces: [] }))).toBe('ERR_JOB_MISMATCH')
    await ask(ana, 'jobJoin', { job: idOf(job), nonces: [] })
    expect(await codeOf(ask(ana, 'jobJoin', { job: idOf(job), nonces: [] }))).toBe('ERR_ID_TAKEN')
    const other = await scene.connect('ana')
    const end = { job: idOf(job), ok: true, message: '', results: {} }
    expect(await codeOf(ask(other, 'jobEnd', end))).toBe('ERR_NOT_FOUND')
    await scene.close()
  })
})

describe('a coordinator that does not keep to the job', () => {
  let scene: Scene
  let ana: SocketWorker
  let workers: SocketWorker[]
  let there: FixedPrecisionPointer
  let secret: SharedTensor
  beforeAll(async () => {
    scene = await Scene.open()
    ana = await scene.connect('ana')
    workers = await Promise.all(job.compute.map((party) => scene.connect(party)))
    const { inputs } = await ask(ana, 'jobJoin', { job: idOf(job), nonces: [] })
    const [{ id, shape, encoding }] = (inputs['a'] as InputWire).parts as [InputWire['parts'][0]]
    there = new FixedPrecisionPointer(ana, id, shape, encoding)
    secret = share(there, workers, { protocol: 'replicated' })
    await Promise.all([ana, ...workers].map((worker) => worker.flush()))
  })
  afterAll(() => scene.close())

  it('gets nothing out of the worker of an owner but shares for those who compute', async () => {
    expect(await codeOf(there.fetch())).toBe('ERR_PERMISSION')
    expect(await codeOf(there.mul(1).get())).toBe('ERR_PERMISSION')
    const float = there.floatPrecision()
    expect(await codeOf(float.get())).toBe('ERR_PERMISSION')
    const dana = await scene.connect('dana')
    // Whom the policy lets see results: but nothing is computed here.
    const copy = new PointerTensor({ location: ana, id: there.id, spec: { shape: [2], dtype: 'float32' }, owns: false })
    copy.copy().move(dana)
    expect(await codeOf(ana.flush())).toBe('ERR_PERMISSION')
    for (const action of [() => ana.search(['#a']), () => ana.objects(), () => ana.ledger(), () => ana.stats()]) {
      expect(await codeOf(action() as Promise<unknown>)).toBe('ERR_PERMISSION')
    }
  })

  it('has it shared among no others', async () => {
    const others = [workers[0]!, workers[1]!, await scene.connect('mallory')]
    const shared = share(there, others, { protocol: 'replicated' })
    expect(await codeOf(ana.flush())).toBe('ERR_PERMISSION')
    shared.dispose()
    await Promise.all(others.map((worker) => codeOf(worker.flush())))
  })

  it('sees no secret itself, and opens none to one whom the job does not name, be it under that name', async () => {
    expect(await codeOf(secret.reveal())).toBe('ERR_PERMISSION')
    const sum = secret.add(1)
    expect(await codeOf(sum.get())).toBe('ERR_PERMISSION')
    for (const name of ['mallory', 'bo']) {
      const opened: PointerTensor = sum.revealTo(await scene.connect(name))
      expect(await codeOf(opened.fetch())).toBe('ERR_PERMISSION')
      await Promise.all(workers.map((worker) => codeOf(worker.flush())))
    }
    // A worker of its own that says it is dana does not hold her key.
    const false_ = await serveWorker({ id: 'dana', port: 0, identity: scene.keys.get('mallory')! })
    const impostor = await SocketWorker.connect(false_.url)
    const opened = sum.revealTo(impostor)
    expect(await codeOf(opened.fetch() as Promise<tf.Tensor>)).toBe('ERR_PERMISSION')
    await impostor.close()
    await false_.close(500)
    const refused = scene.ledger('s1').filter(({ event }) => event === 'refused')
    expect(new Set(refused.map(({ to }) => to))).toEqual(new Set(['s0', 'mallory', 'bo', 'dana']))
    expect(scene.ledger('s1').some(({ event }) => event === 'opened')).toBe(false)
  })

  it('ends a party’s part with other results than the job’s to no avail', async () => {
    const dana = await scene.connect('dana')
    await ask(dana, 'jobJoin', { job: idOf(job), nonces: [] })
    const end = { job: idOf(job), ok: true, message: '' }
    expect(await codeOf(ask(dana, 'jobEnd', { ...end, results: {} }))).toBe('ERR_OUT_OF_STEP')
    await expect(scene.parties.get('dana')!.member.ended).rejects.toMatchObject({ code: 'ERR_OUT_OF_STEP' })
  })

  it('that leaves before the end ends it for the others', async () => {
    const { member } = scene.parties.get('ana')!
    await ana.close()
    await expect(member.ended).rejects.toMatchObject({
      code: 'ERR_SESSION_CLOSED',
      message: 's0 has left before the job was done',
    })
  })
})

describe('a coordinator of a job that asks for consent', () => {
  it('opens nothing without it, nor with one that was not signed for this run of this job', async () => {
    const scene = await Scene.open(asking)
    const id = idOf(asking)
    const workers = await Promise.all(asking.compute.map((party) => scene.connect(party)))
    const drawn = await Promise.all(workers.map((worker) => ask(worker, 'jobJoin', { job: id, nonces: [] })))
    const nonces = drawn.map(({ nonce }) => nonce!)
    expect(new Set(nonces.map(String)).size).toBe(3)
    const [s1] = [workers[1]!]
    const tell = (consents: Record<string, Uint8Array>, under = nonces) =>
      codeOf(ask(s1, 'jobConsent', { job: id, nonces: under, consents }))
    const sign = (who: string, of = id, under: readonly Uint8Array[] = nonces) =>
      scene.keys.get(who)!.sign(CONSENT, consentTo(of, under))

    const secret = share(fixPrecision([1, 2]), workers, { protocol: 'replicated' })
    const dana = await scene.connect('dana')
    /** What each of the three says to an opening. */
    const opened = async () => {
      const pointer = secret.revealTo(dana)
      const codes = await Promise.all(workers.map((worker) => codeOf(worker.flush())))
      pointer.dispose()
      return codes
    }
    const all = (code: string) => workers.map(() => code)
    expect(await codeOf(secret.reveal())).toBe('ERR_CONSENT')
    expect(await opened()).toEqual(all('ERR_CONSENT'))
    expect(await tell({})).toBe('ERR_CONSENT')
    // Of somebody else, of another job, of what another run has drawn, or of nothing drawn.
    const old = nonces.map((nonce) => nonce.map((byte) => byte ^ 1))
    expect(await tell({ bo: sign('s0') })).toBe('ERR_CONSENT')
    expect(await tell({ bo: sign('bo', idOf(job)) })).toBe('ERR_CONSENT')
    expect(await tell({ bo: sign('bo', id, old) })).toBe('ERR_CONSENT')
    expect(await tell({ bo: sign('bo', id, old) }, old)).toBe('ERR_CONSENT')
    expect(await tell({ bo: sign('bo', id, []) }, [])).toBe('ERR_CONSENT')
    expect(await opened()).toEqual(all('ERR_CONSENT'))
    // Each of the three for itself.
    expect(await tell({ bo: sign('bo') })).toBe('nothing')
    expect(await opened()).toEqual(['ERR_CONSENT', 'nothing', 'ERR_CONSENT'])
    for (const worker of [workers[0]!, workers[2]!]) {
      await ask(worker, 'jobConsent', { job: id, nonces, consents: { bo: sign('bo') } })
    }
    expect(await opened()).toEqual(all('nothing'))
    await scene.close()
  })

  it('is given no signature that would be good for more than one run', async () => {
    const scene = await Scene.open(asking)
    const bo = await scene.connect('bo')
    expect((await ask(bo, 'jobJoin', { job: idOf(asking), nonces: [] })).consent).toBe(null)
    await scene.close()
  })
})

it('tells a party why a job has failed', async () => {
  const scene = await Scene.open()

  const connect = async (party: string) => {
    if (party === 'dana') throw new Error('no dana')
    return scene.connect(party)
  }
  const print = () => {}
  const run = runSecretJob({ job, connect, script: () => Promise.reject(new Error()), print })
  await expect(run).rejects.toThrow('no dana')
  for (const party of ['s1', 's2']) {
    // What is no error of ours may show anything.
    await expect(scene.parties.get(party)!.member.ended).rejects.toThrow('the job has failed: an error')
  }
  await scene.close()
})
