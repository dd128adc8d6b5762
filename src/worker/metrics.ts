/** What a worker counts while it runs, for Prometheus. Never values. */
import { Counter, Gauge, type Registry } from 'prom-client'
import type { WorkerHost } from './host.ts'

/** Counts what a worker does. */
export function count(host: WorkerHost, registry: Registry): void {
  const registers = [registry]
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name: `sotto_${name}`,
      help,
      registers,
      collect() {
        this.set(value())
      },
    })
  const callers = () => [...host.sessions].filter(({ role }) => role === 'caller')
  gauge('sessions', 'Sessions of callers', () => callers().length)
  gauge('peers', 'Peers that have connected', () => host.sessions.size - callers().length)
  gauge('objects', 'Tensors, models, optimizers and shares kept', () => host.store.size)
  gauge('bytes', 'Bytes of the objects kept', () => host.store.bytes)
  gauge('queue', 'Commands that wait for their turn', () => callers().reduce((sum, { queued }) => sum + queued, 0))
  const ops = new Counter({
    name: 'sotto_ops_total',
    help: 'Commands carried out or failed',
    labelNames: ['message'],
    registers,
  })
  const errors = new Counter({
    name: 'sotto_errors_total',
    help: 'Commands that failed',
    labelNames: ['code'],
    registers,
  })
  const traffic = new Counter({
    name: 'sotto_traffic_bytes_total',
    help: 'Bytes of sessions that have ended',
    labelNames: ['direction'],
    registers,
  })
  host.observers.push({
    handled: (message) => ops.inc({ message }),
    failed: (_, __, { code }) => errors.inc({ code }),
    began() {},
    ended({ traffic: { bytesIn, bytesOut } }) {
      traffic.inc({ direction: 'in' }, bytesIn)
      traffic.inc({ direction: 'out' }, bytesOut)
    },
  })
}
