import { type LabelledImages, loadMnist } from 'sotto'

/** Images that tests take at most. */
const MOST = 640

let loading: Promise<LabelledImages> | undefined

/** The first images of MNIST, with their labels. To unpack and check the files takes a third of a second: once. */
export async function firstDigits(count: number): Promise<LabelledImages> {
  if (count > MOST) throw new RangeError(`tests take at most ${MOST} images, not ${count}`)
  loading ??= loadMnist({ limit: MOST, testLimit: 1, onNotice: () => {} }).then(({ train }) => train)
  return (await loading).slice(0, count)
}
