/** How good predictions are, from plain numbers. */
import { sottoError } from '../errors.ts'

/**
 * Area under the ROC curve: the chance that a positive example scores higher than a negative one, a tie counting half.
 *
 * Computed as the Mann–Whitney rank statistic with mid-ranks for ties (J. A. Hanley, B. J. McNeil, "The meaning and
 * use of the area under a receiver operating characteristic curve", Radiology 143, 1982), in O(n log n).
 *
 * @param scores any finite or infinite numbers, higher meaning more likely positive
 * @param labels 1 or true for positive, 0 or false for negative; as many as there are scores
 * @returns from 0 to 1; 0.5 is chance
 * @throws ValueError `ERR_ARGUMENT_VALUE` for lengths that differ, a NaN, another label, or labels of one class only
 */
export function areaUnderCurve(scores: ArrayLike<number>, labels: ArrayLike<number | boolean>): number {
  const n = sameLength('areaUnderCurve', 'scores', scores, labels)
  let positives = 0
  for (let i = 0; i < n; i++) {
    if (Number.isNaN(scores[i]!)) {
      throw sottoError('ERR_ARGUMENT_VALUE', `areaUnderCurve: the score at ${i} is not a number`, { index: i })
    }
    const label = Number(labels[i]!)
    if (label !== 0 && label !== 1) {
      throw sottoError('ERR_ARGUMENT_VALUE', `areaUnderCurve: the label at ${i} is neither 0 nor 1`, { index: i })
    }
    positives += label
  }
  const negatives = n - positives
  if (positives === 0 || negatives === 0) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `areaUnderCurve: needs both classes, got ${positives} positives and ${negatives} negatives`,
      { positives, negatives },
    )
  }

  // Not a − b: that is NaN for two equal infinities.
  const order = Uint32Array.from({ length: n }, (_, index) => index)
  order.sort((a, b) => (scores[a]! < scores[b]! ? -1 : scores[a]! > scores[b]! ? 1 : 0))

  let positiveRanks = 0
  for (let begin = 0; begin < n; ) {
    let end = begin
    let tiedPositives = 0
    while (end < n && scores[order[end]!] === scores[order[begin]!]) tiedPositives += Number(labels[order[end++]!]!)
    // Ranks count from 1: those tied at positions begin…end−1 share the mean of begin+1…end.
    positiveRanks += tiedPositives * ((begin + 1 + end) / 2)
    begin = end
  }
  return (positiveRanks - (positives * (positives + 1)) / 2) / (positives * negatives)
}

/**
 * The share of predictions that equal their label.
 *
 * @returns from 0 to 1
 * @throws ValueError `ERR_ARGUMENT_VALUE` when there are none, or not as many predictions as labels
 */
export function accuracy(predicted: ArrayLike<number>, labels: ArrayLike<number>): number {
  const n = sameLength('accuracy', 'predicted', predicted, labels)
  let right = 0
  for (let i = 0; i < n; i++) if (predicted[i] === labels[i]) right++
  return right / n
}

/**
 * The confusion matrix: how often each class was taken for each.
 *
 * @param classes how many classes there are; predictions and labels are integers from 0 to `classes` − 1
 * @returns shape [classes, classes]: row = label, column = prediction
 * @throws ValueError `ERR_ARGUMENT_VALUE` when there are none, not as many predictions as labels, or one is no class
 */
export function confusion(predicted: ArrayLike<number>, labels: ArrayLike<number>, classes: number): number[][] {
  if (!Number.isSafeInteger(classes) || classes < 1) {
    throw sottoError('ERR_ARGUMENT_VALUE', `confusion: "classes" expected an integer of at least 1, got ${classes}`, {
      classes,
    })
  }
  const n = sameLength('confusion', 'predicted', predicted, labels)
  const table = Array.from({ length: classes }, () => new Array<number>(classes).fill(0))
  for (let i = 0; i < n; i++) {
    const row = table[labels[i]!]
    const column = predicted[i]!
    if (row?.[column] === undefined) {
      throw sottoError('ERR_ARGUMENT_VALUE', `confusion: the pair at ${i} is not of two classes below ${classes}`, {
        index: i,
        classes,
      })
    }
    row[column]! += 1
  }
  return table
}

function sameLength(where: string, name: string, values: ArrayLike<unknown>, labels: ArrayLike<unknown>): number {
  if (values.length !== labels.length || values.length === 0) {
    throw sottoError(
      'ERR_ARGUMENT_VALUE',
      `${where}: "${name}" and "labels" expected the same length, at least 1, got ${values.length} and ${labels.length}`,
      { [name]: values.length, labels: labels.length },
    )
  }
  return values.length
}
