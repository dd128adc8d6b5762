import { join } from 'node:path'

/** What a file of this project, such as `src/index.ts`, was built to for this run of the tests (`build.ts`). */
export const built = (path: string): string => join(process.env['SOTTO_BUILT']!, path.replace(/\.ts$/, '.js'))
