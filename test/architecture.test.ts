import { readdirSync, readFileSync } from 'node:fs'
import { join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../src', import.meta.url))
const files = new Map(
  readdirSync(root, { recursive: true, encoding: 'utf8' })
    .map((name) => name.replaceAll('\\', '/'))
    .filter((name) => name.endsWith('.ts'))
    .map((name) => [name, withoutComments(readFileSync(join(root, name), 'utf8'))]),
)

/** Code alone: comments name what must not be used. */
function withoutComments(code: string): string {
  return code.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/(^|\s)\/\/.*$/gm, '$1')
}

/** What a file imports or exports from elsewhere, types too; relative names as paths under `src`. */
function importsOf(name: string, code: string): string[] {
  const specifiers = [
    ...code.matchAll(/^(?:import|export)\b[^'"]*?\bfrom\s*['"]([^'"]+)['"]/gm),
    ...code.matchAll(/^import\s*['"]([^'"]+)['"]/gm),
    ...code.matchAll(/\bimport\(\s*['"]([^'"]+)['"]/g),
  ].map((match) => match[1]!)
  return specifiers.map((specifier) =>
    specifier.startsWith('.') ? posix.join(posix.dirname(name), specifier) : specifier,
  )
}

/** What a file loads when it is loaded itself: no types, and nothing that waits to be asked for. */
function loads(name: string, code: string): string[] {
  const needed = code
    .replaceAll(/^(?:import|export) type\b[^'"]*?\bfrom\s*['"][^'"]+['"]/gm, '')
    .replaceAll(/\bimport\([^)]*\)/g, '')
  return importsOf(name, needed)
}

const imports = [...files].flatMap(([name, code]) => importsOf(name, code).map((target) => ({ name, target })))
/** The part of the library that a file belongs to: its folder, or its own name at the top. */
const partOf = (name: string): string => (name.includes('/') ? name.split('/')[0]! : name)

/** What each part may import from. A part that is not here fails the test until it is. */
const directions: Readonly<Record<string, readonly string[]>> = {
  'errors.ts': [],
  'options.ts': ['errors.ts'],
  tensor: ['errors.ts', 'options.ts'],
  data: ['errors.ts', 'options.ts', 'tensor'],
  worker: ['errors.ts', 'options.ts', 'tensor', 'data'],
  smpc: ['errors.ts', 'options.ts', 'tensor', 'worker', 'data'],
  privacy: ['errors.ts', 'options.ts'],
  split: ['errors.ts', 'options.ts', 'tensor', 'worker', 'data', 'psi', 'privacy'],
  psi: ['errors.ts', 'options.ts', 'tensor', 'worker', 'data'],
  federated: ['errors.ts', 'options.ts', 'tensor', 'worker', 'data', 'smpc', 'privacy'],
  'browser.ts': ['errors.ts', 'options.ts', 'tensor', 'data', 'worker', 'smpc', 'split', 'psi', 'federated', 'privacy'],
  'index.ts': ['browser.ts', 'data', 'worker', 'federated', 'psi'],
  cli: [
    'errors.ts',
    'options.ts',
    'tensor',
    'data',
    'worker',
    'smpc',
    'split',
    'psi',
    'federated',
    'privacy',
    'index.ts',
  ],
}

describe('the source', () => {
  it('is read by this test: its imports are found', () => {
    expect(files.size).toBeGreaterThan(40)
    expect(imports).toContainEqual({ name: 'worker/host.ts', target: 'errors.ts' })
    expect(imports).toContainEqual({ name: 'browser.ts', target: 'worker/worker.ts' })
    const code = "import 'a'\nimport {\n  b,\n} from './b.ts'\nexport * from '../c.ts'\nconst d = await import('d')\n"
    expect(importsOf('x/y.ts', code).sort()).toEqual(['a', 'c.ts', 'd', 'x/b.ts'])
  })

  it('imports in one direction: errors, tensor, data, worker, what is built on it, index, cli', () => {
    const wrong = imports.filter(({ name, target }) => {
      if (!target.endsWith('.ts')) return false
      const [from, to] = [partOf(name), partOf(target)]
      return from !== to && !directions[from]?.includes(to)
    })
    expect(wrong).toEqual([])
  })

  it('imports files that are there, by their whole name', () => {
    const missing = imports.filter(({ target }) => target.endsWith('.ts') && !files.has(target))
    expect(missing).toEqual([])
    const unnamed = imports.filter(({ target }) => target.startsWith('..') || files.has(`${target}.ts`))
    expect(unnamed).toEqual([])
  })

  it('takes from data what the simulated network needs, and no more, in worker', () => {
    const used = imports.filter(({ name, target }) => partOf(name) === 'worker' && partOf(target) === 'data')
    expect(used).toEqual([{ name: 'worker/transport/memory.ts', target: 'data/random.ts' }])
  })

  it('takes from tensor the engine alone, in data', () => {
    const allowed = ['tensor/engine.ts', 'tensor/backend.ts', 'tensor/shape.ts']
    const used = imports.filter(({ name, target }) => partOf(name) === 'data' && partOf(target) === 'tensor')
    expect(used.filter(({ target }) => !allowed.includes(target))).toEqual([])
  })

  it('imports tfjs in tensor only', () => {
    const users = imports.filter(({ target }) => target.startsWith('@tensorflow/')).map(({ name }) => partOf(name))
    expect([...new Set(users)]).toEqual(['tensor'])
  })

  it('loads nothing of Node where a browser loads it', () => {
    const isNode = (target: string) =>
      target.startsWith('node:') ||
      [
        'ws',
        'pino',
        'prom-client',
        'yaml',
        'csv-parse/sync',
        'commander',
        'cli-progress',
        'cli-table3',
        'redis',
      ].includes(target)
    const loaded = new Set(['browser.ts'])
    for (const name of loaded) {
      for (const target of loads(name, files.get(name) ?? ''))
        if (files.has(target) || isNode(target)) loaded.add(target)
    }
    expect([...loaded].filter(isNode)).toEqual([])
    expect(loads('x.ts', "import type { A } from 'node:a'\nimport { b } from 'node:b'\nawait import('ws')")).toEqual([
      'node:b',
    ])
    expect(loads('index.ts', files.get('index.ts')!)).toContain('worker/serve.ts')
  })

  it('imports packages that package.json names', () => {
    const { dependencies, optionalDependencies } = JSON.parse(
      readFileSync(join(root, '../package.json'), 'utf8'),
    ) as Record<'dependencies' | 'optionalDependencies', Record<string, string>>
    const known = Object.keys({ ...dependencies, ...optionalDependencies })
    const packages = imports
      .filter(({ target }) => !target.endsWith('.ts') && !target.startsWith('node:'))
      .map(({ target }) =>
        target
          .split('/')
          .slice(0, target.startsWith('@') ? 2 : 1)
          .join('/'),
      )
    expect([...new Set(packages)].filter((name) => !known.includes(name))).toEqual([])
  })

  /** Whoever draws at random says why it is neither repeatable nor secret. */
  const drawing: Readonly<Record<string, string>> = {
    'tensor/ops.ts': 'dropout: the mask of training, which takes a seed when it must be repeatable',
  }
  it('draws nothing from Math.random or from the generators of tfjs, outside a list', () => {
    const pattern =
      /\bMath\s*\.\s*random\b|\btf\s*\.\s*(?:rand\w*|truncatedNormal|multinomial|dropout)\b|\bcrypto\.pseudoRandomBytes\b/
    expect(pattern.test('tf.randomNormal([1])')).toBe(true)
    expect(pattern.test('Math.random()')).toBe(true)
    const users = [...files].filter(([, code]) => pattern.test(code)).map(([name]) => name)
    expect(users.filter((name) => !Object.hasOwn(drawing, name))).toEqual([])
    expect(Object.keys(drawing).filter((name) => !users.includes(name))).toEqual([])
  })

  it('makes no code of strings', () => {
    const pattern = /\beval\s*\([^)]|\bnew\s+Function\b|\bFunction\s*\(/
    expect(pattern.test('eval(text)')).toBe(true)
    expect([...files].filter(([, code]) => pattern.test(code)).map(([name]) => name)).toEqual([])
  })
})
