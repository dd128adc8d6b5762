/** One owner of an intersection, in a process of its own: `listen` or `connect`, sizes, and how many ids are shared. */
import { connectForPsi, idsOf, listenForPsi, type PsiProtocol, type PsiResult } from 'sotto'

const [role, n, shared, from, protocol, url] = process.argv.slice(2)
const count = Number(n)
const list = Array.from({ length: count }, (_, i) => `person${Number(from) + i}@example.org`)
const tell = (message: object) => process.send!(message)

/** The most memory that was seen, in bytes. */
const rss = () => process.resourceUsage().maxRSS * 1024

async function report(run: () => Promise<PsiResult>): Promise<void> {
  const start = performance.now()
  const { size, traffic } = await run()
  if (size !== Number(shared)) throw new Error(`${size} of ${shared} were found`)
  tell({ ms: performance.now() - start, rss: rss(), ...traffic })
}

const reveal = { reveal: 'both', protocol: protocol as PsiProtocol } as const
if (role === 'listen') {
  // The ids are hashed when the other side begins, so that its clock covers the work of both.
  let begin!: () => void
  const begun = new Promise<void>((resolve) => {
    begin = resolve
  })
  const ids = begun.then(() => idsOf(list))
  const server = await listenForPsi(ids, { side: 'second', ...reveal }, { port: 0 })
  process.on('message', () => begin())
  tell({ url: server.url })
  await report(() => server.result)
  await server.close()
} else {
  tell({ ready: true })
  await new Promise((resolve) => process.once('message', resolve))
  await report(() =>
    connectForPsi(
      url!,
      Promise.resolve().then(() => idsOf(list)),
      { side: 'first', ...reveal },
    ),
  )
}
process.disconnect()
