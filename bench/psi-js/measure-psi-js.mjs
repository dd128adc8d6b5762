/** How long @openmined/psi.js takes for the intersection of two sets, client and server in this thread. Prints JSON. */
import { createRequire } from 'node:module'

const load = createRequire(import.meta.url)('@openmined/psi.js')
const n = Number(process.argv[2] ?? 10_000)
const ids = (from) => Array.from({ length: n }, (_, i) => `person${from + i}@example.org`)

const psi = await load()
const [first, second] = [ids(0), ids(n / 2)]
const start = performance.now()
const server = psi.server.createWithNewKey(true)
const client = psi.client.createWithNewKey(true)
// Points as they are: its compressed sets (GCS) end in "Assertion failed" where false matches are to be as rare as here.
const setup = server.createSetupMessage(2 ** -40, n, second, psi.dataStructure.Raw)
const request = client.createRequest(first)
const response = server.processRequest(request)
const found = client.getIntersection(setup, response)
const ms = performance.now() - start
if (found.length !== n / 2) throw new Error(`${found.length} of ${n / 2} were found`)
const bytes = [setup, request, response].reduce((sum, message) => sum + message.serializeBinary().length, 0)
console.log(JSON.stringify({ n, ms, bytes }))
