/** A thread that works on elements of ristretto255 for the thread that made it; see `pool.ts`. */
import { parentPort } from 'node:worker_threads'
import { ristretto } from '../ristretto.ts'
import { carryOut, type PointTask } from './points.ts'

const group = await ristretto()
parentPort!.on('message', (task: PointTask) => parentPort!.postMessage(carryOut(task, group)))
