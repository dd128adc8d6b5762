/**
 * Softmax regression on MNIST as a job: what `sotto job compile` reads. Each round a trainer takes ten steps of SGD, of
 * 64 images each, and the server learns the mean of what has changed in their weights.
 *
 *     TRAINERS=10 npx sotto job compile examples/federated-jobs/job.ts -o digits
 */
import { env } from 'node:process'
import { defineJob, type JobAggregation } from 'sotto'

const trainers = Number(env['TRAINERS'] ?? 2)

export default defineJob({
  name: 'digits',
  model: (tf) =>
    tf.sequential({ layers: [tf.layers.dense({ units: 10, inputShape: [784], kernelInitializer: 'zeros' })] }),
  loss: 'softmaxCrossEntropy',
  trainers,
  rounds: Number(env['ROUNDS'] ?? 100),
  // Of two trainers each knows the other's part of the sum: both must agree to that, by --allow-pairs.
  minimum: Math.min(3, trainers),
  // All have as many images. Sums that count each trainer once fit into 32 bits, and others would take 64.
  weighting: 'equal',
  // With pixels from −1 to 1 no gradient is above 1, so ten steps of 0.01 change no weight by more than 0.1.
  aggregation:
    env['AGGREGATION'] === undefined || env['AGGREGATION'] === 'masks'
      ? { kind: 'masks', clip: 0.125 }
      : (env['AGGREGATION'] as JobAggregation),
  local: { steps: 10, batchSize: 64, optimizer: { kind: 'sgd', learningRate: 0.01 } },
  seed: Number(env['SEED'] ?? 1),
  endpoints: {
    scheduler: `ws://127.0.0.1:${env['SCHEDULER_PORT'] ?? 8779}`,
    server: `ws://127.0.0.1:${env['SERVER_PORT'] ?? 8778}`,
  },
})
