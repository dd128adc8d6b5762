/** A worker, or a bare WebSocket server that counts bytes, in a process of its own: the other end of a benchmark. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { serveWorker } from 'sotto'
import { WebSocketServer } from 'ws'

const [what = 'worker', id = 'bob', host = '127.0.0.1'] = process.argv.slice(2)
const tell = (message: object): void => {
  process.send!(message)
}

if (what === 'bare') {
  const server = new WebSocketServer({ host, port: 0, perMessageDeflate: false, maxPayload: 2 ** 28 })
  await once(server, 'listening')
  // Answers a message of one byte once all before it has come.
  server.on('connection', (socket) => {
    socket.on('message', (data: Buffer) => {
      if (data.length === 1) socket.send(data)
    })
  })
  tell({ url: `ws://${host}:${(server.address() as AddressInfo).port}` })
} else {
  const worker = await serveWorker({ id, host, port: 0, insecure: true })
  tell({ url: worker.url, key: worker.key })
  setInterval(() => tell({ rss: process.memoryUsage().rss }), 250)
}
process.on('disconnect', () => process.exit())
