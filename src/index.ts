/** The public names of Sotto, and nothing else. */
export * from './browser.ts'
export { type DataFileOptions, readDataFile, type TensorData } from './data/data-file.ts'
export { LabelledImages, loadMnist, type Mnist, type MnistOptions } from './data/mnist.ts'
export { formatNpy } from './data/npy.ts'
export { type LabelledMessage, loadSmsSpam, type SmsSpam, type SmsSpamOptions } from './data/sms-spam.ts'
export { jsonLines } from './federated/json-lines.ts'
export { type IdFileOptions, readIdRows, readIds } from './psi/id-file.ts'
export { connectForPsi, listenForPsi, type PsiListenOptions, type PsiServer } from './psi/socket.ts'
export { FolderCheckpoints } from './worker/checkpoint-folder.ts'
export { type Hub, type HubOptions, type HubWorkerOptions, listenForWorkers } from './worker/hub.ts'
export {
  type AuthOptions,
  type ServeOptions,
  type ServerLimits,
  serveWorker,
  type WorkerServer,
} from './worker/serve.ts'
export type { ServerTls } from './worker/server.ts'
