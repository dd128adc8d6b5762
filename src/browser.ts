/** The public names that need nothing but what a browser has too, and nothing else. */
export { batches, shuffledIndices } from './data/batches.ts'
export { featureHasher, hashFeatures } from './data/hashing.ts'
export { accuracy, areaUnderCurve, confusion } from './data/metrics.ts'
export {
  AccessError,
  ArgumentError,
  type Code,
  codes,
  DataError,
  type Details,
  isSottoError,
  PermissionError,
  PlacementError,
  ProtocolError,
  SessionError,
  SottoError,
  type SottoErrorLike,
  StateError,
  ValueError,
} from './errors.ts'
export type {
  Aggregation,
  AggregationContext,
  Contribution,
  Mean,
  Missing,
} from './federated/aggregation/aggregation.ts'
export { inClear } from './federated/aggregation/clear.ts'
export { type MasksOptions, masks, type PairMasksOptions, pairMasks } from './federated/aggregation/masks.ts'
export type { AggregationName } from './federated/aggregation/named.ts'
export { type SharesOptions, shares } from './federated/aggregation/shares.ts'
export {
  ClientPrivacy,
  type ClientPrivacyOptions,
  clipFactor,
  type RoundNoise,
} from './federated/client-privacy.ts'
export {
  Federation,
  type FederationOptions,
  type FederationResult,
  type FederationSampling,
  type Metrics,
  type RoundResult,
} from './federated/federation.ts'
export {
  defineJob,
  type Endpoints,
  type JobDefinition,
  type JobLocalTraining,
} from './federated/jobs/definition.ts'
export type { AggregationSettings, JobAggregation, StrategySettings } from './federated/jobs/named.ts'
export type { Examples, FederatedClient, LocalTraining } from './federated/local.ts'
export { roundLine } from './federated/round-line.ts'
export { type SamplingOptions, sampleClients } from './federated/sampling.ts'
export * from './federated/strategies/index.ts'
export { epsilonOf, type NoisySteps, noiseFor, PrivacyAccountant, type PrivacySpent } from './privacy/accountant.ts'
export type { Channel, Traffic } from './psi/channel.ts'
export { type Id, type IdCell, type IdOptions, type IdRule, IdSet, idsOf } from './psi/ids.ts'
export { type Intersection, type IntersectOptions, idTensor, intersect } from './psi/intersect.ts'
export { intersectInRing, type RingOptions, type RingResult } from './psi/ring.ts'
export { intersectOver, type PsiOptions, type PsiProtocol, type PsiResult, type Reveal } from './psi/two-party.ts'
export type { PsiReport } from './psi/workers/messages.ts'
export { type ConsentOptions, giveConsent, withdrawConsent } from './smpc/consent.ts'
export { EncodedTensor } from './smpc/encoded-tensor.ts'
export type { Encoding, PrecisionOptions } from './smpc/encoding.ts'
export { FixedPrecisionPointer } from './smpc/fixed-pointer.ts'
export { FixedPrecisionTensor } from './smpc/fixed-precision.ts'
export type { GroupOptions, GroupStats } from './smpc/group.ts'
export type { PartyStats, ProviderStats } from './smpc/messages.ts'
export { hook, share } from './smpc/methods.ts'
export { EncodedSgd, optim } from './smpc/optim.ts'
export { type Plan, type PrepareOptions, planOf, prepare } from './smpc/plan.ts'
export type { Cost } from './smpc/protocols/protocol.ts'
export {
  fixPrecision,
  type NewSecretOptions,
  type Shareable,
  type ShareOptions,
  sharedRandom,
  sharedZeros,
} from './smpc/share.ts'
export { SharedModel, type ShareModelOptions } from './smpc/shared-model.ts'
export { SharedTensor } from './smpc/shared-tensor.ts'
export { meanOf, sumOf } from './smpc/totals.ts'
export type { SecretCheckpoint, SecretCheckpointOptions } from './smpc/training/checkpoints.ts'
export type {
  SecretBatchInfo,
  SecretEpochInfo,
  SecretEvaluateOptions,
  SecretEvaluation,
  SecretFitOptions,
  SecretFitResult,
} from './smpc/training/fit.ts'
export type { SecretLoss } from './smpc/training/losses.ts'
export type { SecretOptimizer } from './smpc/training/optimizers.ts'
export type { SecretRows } from './smpc/training/rows.ts'
export {
  type SecretSigmoid,
  type VerticalData,
  type VerticalEpochInfo,
  type VerticalEvaluation,
  type VerticalFitOptions,
  type VerticalLogisticOptions,
  VerticalLogisticRegression,
} from './smpc/vertical-logistic.ts'
export { type AlignedDataset, type AlignOptions, alignedDataset, type OwnedTable } from './split/aligned-dataset.ts'
export {
  type ClientSegment,
  type OwnSegment,
  type RoundInfo,
  type RoundOptions,
  SplitFed,
  SplitTurns,
} from './split/clients.ts'
export { type CutNoise, type CutNoiseReleases, cutNoise, cutNoiseEpsilon } from './split/cut-noise.ts'
export type { BatchInfo, EpochInfo, FitOptions, FitProgress, FitResult } from './split/fit.ts'
export type { Join } from './split/join.ts'
export { distanceCorrelation } from './split/no-peek.ts'
export {
  type AlignedRows,
  alignRows,
  type MissingRows,
  type OwnedRows,
  type SplitData,
  type SplitInput,
} from './split/rows.ts'
export type { SplitCheckpoint, SplitCheckpointWithWeights } from './split/saved.ts'
export type { SegmentOptions } from './split/segment.ts'
export { splitAt } from './split/split-at.ts'
export { type EvaluateOptions, type Evaluation, SplitNN, type SplitNNOptions } from './split/split-nn.ts'
export { type Backend, backends, type ReadyOptions, ready, tf } from './tensor/backend.ts'
export type { Checkpoint, CheckpointInfo } from './tensor/checkpoint.ts'
export { noGrad, scope } from './tensor/context.ts'
export { ErrorFeedback, errorFeedback, type FeedbackOptions } from './tensor/feedback.ts'
export { send } from './tensor/hook.ts'
export { gradOf, recordGrad, requireGrad } from './tensor/local-grad.ts'
export type { Location, Progress, WaitOptions } from './tensor/location.ts'
export type { Loss, LossFunction, LossName } from './tensor/losses.ts'
export { type ApplyOptions, type ModelSendOptions, RemoteModel } from './tensor/model.ts'
export { type Linearity, type OpName, ops } from './tensor/ops.ts'
export type {
  AdadeltaConfig,
  AdagradConfig,
  AdamaxConfig,
  AdamConfig,
  Optimizer,
  RmspropConfig,
  SgdConfig,
} from './tensor/optim.ts'
export type { OptimizerGiven, OptimizerSettings } from './tensor/optimizer-settings.ts'
export type { Compression } from './tensor/packed.ts'
export {
  type BackwardOptions,
  type MoveOptions,
  type Operand,
  PointerTensor,
  type SendOptions,
} from './tensor/pointer.ts'
export type { DType, Shape, Spec } from './tensor/shape.ts'
export type { CheckpointKey } from './worker/checkpoint-file.ts'
export { type CheckpointStore, MemoryCheckpoints } from './worker/checkpoints.ts'
export type { Limits } from './worker/host.ts'
export { Identity } from './worker/identity.ts'
export type { LedgerEntry, LedgerEvent } from './worker/ledger.ts'
export type { Log } from './worker/log.ts'
export { type OfferedWorker, type OfferOptions, offerWorker } from './worker/offer-worker.ts'
export type { OwnData } from './worker/own-data.ts'
export type { LinkStats, ObjectInfo, WorkerStats } from './worker/protocol.ts'
export { type ConnectOptions, SocketWorker } from './worker/socket-worker.ts'
export { createToken, type Right, showTokens, type TokenRecord, Tokens } from './worker/tokens.ts'
export type { MemoryOptions } from './worker/transport/memory.ts'
export { VirtualWorker, type VirtualWorkerOptions } from './worker/virtual-worker.ts'
export { type WhoSawWhatOptions, whoSawWhat } from './worker/who-saw-what.ts'
export { Worker } from './worker/worker.ts'
