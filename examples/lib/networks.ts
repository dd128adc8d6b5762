/**
 * The networks that training in secret is measured by, for MNIST: under their letters in MP-SPDZ (M. Keller, K. Sun, "Secure
 * quantized training for deep learning", ICML 2022, figure 1) and in TF Encrypted, which both give scores without softmax.
 */
import { type SecretLoss, tf } from 'sotto'

export interface Network {
  /** From whom it comes. */
  readonly of: string
  readonly inputShape: readonly number[]
  readonly loss: SecretLoss
  /** Of plain descent, in batches of 128. */
  readonly learningRate: number
  /** What labels are: a class for each digit, or whether it is 5 or more. */
  readonly labels: 'digits' | 'large'
  make(seed: number): tf.Sequential
}

type Layers = Parameters<typeof tf.sequential>[0]

/** Weights that follow from the seed, each layer's from another. */
function seeded(seed: number) {
  let layer = 0
  return () => tf.initializers.heNormal({ seed: 1000 * seed + layer++ })
}

function sequential(make: (initializer: () => ReturnType<typeof tf.initializers.heNormal>) => Layers) {
  return (seed: number): tf.Sequential => tf.sequential(make(seeded(seed)))
}

const dense = (units: number, kernelInitializer: object, more: object = {}) =>
  tf.layers.dense({ units, kernelInitializer: kernelInitializer as never, ...more })
const conv = (filters: number, kernelInitializer: object, more: object = {}) =>
  tf.layers.conv2d({ filters, kernelSize: 5, kernelInitializer: kernelInitializer as never, ...more })

const IMAGE = [28, 28, 1]
const digits = { loss: 'softmaxCrossEntropy', labels: 'digits', learningRate: 0.1 } as const

/** Convolution, max pooling, ReLU, twice; a dense layer of so many units; ten scores. */
const twoConvolutions = (first: number, second: number, units: number) =>
  sequential((init) => ({
    layers: [
      conv(first, init(), { inputShape: IMAGE, activation: 'relu' }),
      tf.layers.maxPooling2d({ poolSize: 2 }),
      conv(second, init(), { activation: 'relu' }),
      tf.layers.maxPooling2d({ poolSize: 2 }),
      tf.layers.flatten(),
      dense(units, init(), { activation: 'relu' }),
      dense(10, init()),
    ],
  }))

export const networks = {
  A: {
    of: 'SecureML (Mohassel, Zhang, S&P 2017)',
    inputShape: [784],
    ...digits,
    make: sequential((init) => ({
      layers: [
        dense(128, init(), { inputShape: [784], activation: 'relu' }),
        dense(128, init(), { activation: 'relu' }),
        dense(10, init()),
      ],
    })),
  },
  B: { of: 'MiniONN (Liu et al., CCS 2017)', inputShape: IMAGE, ...digits, make: twoConvolutions(16, 16, 100) },
  C: { of: 'LeNet (LeCun et al., 1998)', inputShape: IMAGE, ...digits, make: twoConvolutions(20, 50, 500) },
  D: {
    of: 'Chameleon (Riazi et al., AsiaCCS 2018), Gazelle, Sarda',
    inputShape: IMAGE,
    ...digits,
    make: sequential((init) => ({
      layers: [
        conv(5, init(), { inputShape: IMAGE, strides: 2, padding: 'same', activation: 'relu' }),
        tf.layers.flatten(),
        dense(100, init(), { activation: 'relu' }),
        dense(10, init()),
      ],
    })),
  },
  /** Whether a digit is 5 or more. */
  logistic: {
    of: 'logistic regression',
    inputShape: [784],
    loss: 'sigmoidCrossEntropy',
    labels: 'large',
    learningRate: 0.02,
    make: sequential((init) => ({ layers: [dense(1, init(), { inputShape: [784] })] })),
  },
} as const satisfies Record<string, Network>

export type NetworkName = keyof typeof networks
