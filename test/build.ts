/**
 * Builds this project for the threads and processes that tests start, once for a run: the loader of TypeScript would cost
 * each of them more than all that it loads. `built.ts` tells where.
 */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build, type Plugin } from 'esbuild'
import type { TestProject } from 'vitest/node'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Every file is built by itself, and names the others as they are called when they are built. */
const eachByItself: Plugin = {
  name: 'each file by itself',
  setup({ onResolve }) {
    onResolve({ filter: /^\.{1,2}\/.*\.ts$/ }, ({ path, kind }) => {
      return kind === 'entry-point' ? null : { path: path.replace(/\.ts$/, '.js'), external: true }
    })
    onResolve({ filter: /^sotto$/ }, ({ importer }) => {
      const path = relative(dirname(importer), resolve(root, 'src/index.js')).replaceAll('\\', '/')
      return { path: path.startsWith('.') ? path : `./${path}`, external: true }
    })
  },
}

/**
 * tfjs is CommonJS. Node finds out what such a package exports by reading every line of it, unless it is required: that
 * takes as long as all the rest of a thread's start.
 */
const tfjsRequired: Plugin = {
  name: 'tfjs by require',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^@tensorflow\/tfjs$/ }, ({ path, kind }) =>
      kind === 'import-statement' ? { path, namespace: 'required' } : { path, external: true },
    )
    onLoad({ filter: /.*/, namespace: 'required' }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)})`,
    }))
  },
}
const requireOfModules = `import { createRequire as requireOf } from 'node:module'; const require = requireOf(import.meta.url)`

async function buildInto(folder: string): Promise<void> {
  await build({
    absWorkingDir: root,
    entryPoints: ['./src/**/*.ts', './examples/**/*.ts', './test/**/*.ts'],
    outbase: root,
    outdir: folder,
    bundle: true,
    packages: 'external',
    plugins: [eachByItself, tfjsRequired],
    platform: 'node',
    format: 'esm',
    banner: { js: requireOfModules },
    target: 'node20',
    logLevel: 'error',
  })
  copyFileSync(join(root, 'package.json'), join(folder, 'package.json'))
}

export default async function setup(project: TestProject): Promise<() => void> {
  const cache = join(root, 'node_modules/.cache')
  mkdirSync(cache, { recursive: true })
  // Of this run: another may be at work beside it.
  const folder = mkdtempSync(join(cache, 'built-'))
  process.env['SOTTO_BUILT'] = folder
  await buildInto(folder)
  project.onTestsRerun(() => buildInto(folder))
  return () => rmSync(folder, { recursive: true, force: true })
}
