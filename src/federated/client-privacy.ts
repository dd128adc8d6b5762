/** temporary */
import { type NoisySteps, PrivacyAccountant, type PrivacySpent } from '../privacy/accountant.ts'
export interface ClientPrivacyOptions {
  clip: number
  noiseMultiplier: number
  delta: number
  clients: number
  sampleRate: number
  history?: readonly Required<NoisySteps>[]
}
export class ClientPrivacy {
  readonly clip: number
  readonly history: readonly Required<NoisySteps>[] = []
  #a = new PrivacyAccountant()
  constructor(o: ClientPrivacyOptions) {
    this.clip = o.clip
  }
  deviationAtClient(_: number): number {
    return 0
  }
  step(_: number): void {}
  spent(): PrivacySpent {
    return this.#a.spent(1e-5)
  }
}
