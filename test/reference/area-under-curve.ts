/** The definition of the area under the ROC curve: every positive meets every negative, O(n²). */
export function areaUnderCurveByPairs(scores: readonly number[], labels: readonly number[]): number {
  let won = 0
  let pairs = 0
  scores.forEach((positive, i) => {
    scores.forEach((negative, j) => {
      if (labels[i] !== 1 || labels[j] !== 0) return
      pairs++
      won += positive > negative ? 1 : positive === negative ? 0.5 : 0
    })
  })
  return won / pairs
}
