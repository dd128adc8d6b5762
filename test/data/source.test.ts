import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { cacheFolder, type DataFile, type Mirror, readDataFile } from '../../src/data/source.ts'
import { put, serve, sha256, temporaryFolder, zipFile } from './files.ts'

const content = Buffer.from('what the published file says\n'.repeat(20))
const other = Buffer.from('what some other file says....\n'.repeat(20)).subarray(0, content.length)

const file = (mirrors: readonly Mirror[] = []): DataFile => ({
  path: 'set/name',
  size: content.length,
  sha256: sha256(content),
  mirrors,
})

/** An environment with an empty data folder and an empty cache. */
async function places() {
  const root = await temporaryFolder()
  const own = join(root, 'own')
  await mkdir(own)
  const environment = { SOTTO_DATA: own, XDG_CACHE_HOME: join(root, 'xdg') }
  return { own, environment, cache: join(root, 'xdg', 'sotto') }
}

const code = (expected: string) => expect.objectContaining({ name: 'DataError', code: expected })

describe('lookup order', () => {
  test('SOTTO_DATA comes before the cache, and the cache before the mirrors', async () => {
    const { own, cache, environment } = await places()
    let requests = 0
    const url = await serve((_, response) => {
      requests++
      response.end(content)
    })
    const wanted = file([{ url, form: 'plain' }])

    await readDataFile(wanted, { environment })
    expect(requests).toBe(1)
    expect(await readFile(join(cache, 'set/name'))).toEqual(content)

    await readDataFile(wanted, { environment })
    expect(requests).toBe(1)

    // Damaging the cache shows that it is not even looked at when SOTTO_DATA has the file.
    await put(join(cache, 'set/name'), other)
    await put(join(own, 'set/name'), content)
    expect(Buffer.from(await readDataFile(wanted, { environment }))).toEqual(content)
    expect(requests).toBe(1)
  })

  test('a file may be gzipped or not, in SOTTO_DATA and in the cache', async () => {
    const { own, cache, environment } = await places()
    await put(join(cache, 'set/name.gz'), gzipSync(content))
    expect(Buffer.from(await readDataFile(file(), { environment }))).toEqual(content)
    await put(join(own, 'set/name.gz'), gzipSync(content))
    expect(Buffer.from(await readDataFile(file(), { environment }))).toEqual(content)
  })

  test('the error says what was tried and what to do', async () => {
    const { environment, own, cache } = await places()
    const url = await serve((_, response) => response.writeHead(404).end())
    const error = await readDataFile(file([{ url, form: 'plain' }]), { environment }).catch((error: Error) => error)
    expect(error).toEqual(code('ERR_DATA_MISSING'))
    const { message } = error as Error
    for (const part of ['set/name', own, cache, url, 'HTTP 404', 'Set SOTTO_DATA']) expect(message).toContain(part)
  })

  test('an empty SOTTO_DATA counts as not set', async () => {
    const { environment } = await places()
    await expect(readDataFile(file(), { environment: { ...environment, SOTTO_DATA: '' } })).rejects.toThrow(
      'SOTTO_DATA (not set)',
    )
  })

  test('the cache is where each platform keeps its caches', () => {
    expect(cacheFolder({}, 'linux', '/home/ana')).toBe('/home/ana/.cache/sotto')
    expect(cacheFolder({}, 'darwin', '/Users/ana')).toBe('/Users/ana/Library/Caches/sotto')
    expect(cacheFolder({ LOCALAPPDATA: 'local' }, 'win32', 'home')).toBe(join('local', 'sotto'))
    expect(cacheFolder({ XDG_CACHE_HOME: '/xdg' }, 'linux', '/home/ana')).toBe('/xdg/sotto')
    expect(cacheFolder({ XDG_CACHE_HOME: 'relative' }, 'linux', '/home/ana')).toBe('/home/ana/.cache/sotto')
  })
})

describe('damaged files', () => {
  test.each([
    ['set/name', other],
    ['set/name', content.subarray(1)],
    ['set/name.gz', gzipSync(other)],
    ['set/name.gz', gzipSync(content).subarray(0, 20)],
    ['set/name.gz', gzipSync(Buffer.alloc(1_000_000))],
  ])('one in SOTTO_DATA is an error that names %s (case %#)', async (name, bytes) => {
    const { own, environment } = await places()
    const url = await serve((_, response) => response.end(content))
    await put(join(own, name), bytes)
    const reading = readDataFile(file([{ url, form: 'plain' }]), { environment })
    await expect(reading).rejects.toEqual(code('ERR_DATA_CHECKSUM'))
    await expect(reading).rejects.toThrow(join(own, name))
  })

  test.each(['set/name', 'set/name.gz'])('one in the cache (%s) is fetched anew, and stays away', async (name) => {
    const { cache, environment } = await places()
    let requests = 0
    const url = await serve((_, response) => {
      requests++
      response.end(gzipSync(content))
    })
    await put(join(cache, name), other)
    const wanted = file([{ url, form: 'gzip' }])
    expect(Buffer.from(await readDataFile(wanted, { environment }))).toEqual(content)
    expect(await readdir(join(cache, 'set'))).toEqual(['name.gz'])
    await readDataFile(wanted, { environment })
    expect(requests).toBe(1)
  })

  test('a mirror that serves another file is passed over, and nothing of it is kept', async () => {
    const { cache, environment } = await places()
    const url = await serve((request, response) => response.end(request.url === '/good' ? content : other))
    const bad = { url: `${url}/bad`, form: 'plain' } as const
    await expect(readDataFile(file([bad]), { environment })).rejects.toThrow('expected SHA-256')
    await expect(readdir(cache)).rejects.toThrow('ENOENT')
    const bytes = await readDataFile(file([bad, { url: `${url}/good`, form: 'plain' }]), { environment })
    expect(Buffer.from(bytes)).toEqual(content)
  })
})

describe('mirrors', () => {
  test('one may serve a member of a ZIP archive', async () => {
    const { cache, environment } = await places()
    const archive = zipFile([
      { name: 'readme', content: other },
      { name: 'name', content },
    ])
    const url = await serve((_, response) => response.end(archive))
    const bytes = await readDataFile(file([{ url, form: { zipMember: 'name' } }]), { environment })
    expect(Buffer.from(bytes)).toEqual(content)
    expect(await readFile(join(cache, 'set/name'))).toEqual(content)
  })

  test('one may declare the gzip as its encoding, and fetch then unpacks it', async () => {
    const { cache, environment } = await places()
    const url = await serve((_, response) => response.setHeader('content-encoding', 'gzip').end(gzipSync(content)))
    const bytes = await readDataFile(file([{ url, form: 'gzip' }]), { environment })
    expect(Buffer.from(bytes)).toEqual(content)
    expect(await readFile(join(cache, 'set/name'))).toEqual(content)
  })

  test('one that never answers is given up after the time it has', async () => {
    const { environment } = await places()
    const url = await serve(() => {})
    const reading = readDataFile(file([{ url, form: 'plain' }]), { environment, answerTimeout: 50 })
    await expect(reading).rejects.toThrow('no answer within 50 ms')
  })

  test('one that nobody listens at is given up at once', async () => {
    const { environment } = await places()
    const reading = readDataFile(file([{ url: 'http://127.0.0.1:1', form: 'plain' }]), { environment })
    await expect(reading).rejects.toThrow(/127\.0\.0\.1:1 \(.+\)/)
  })

  test.each([true, false])('one that sends too much is refused (length declared: %s)', async (declared) => {
    const { environment } = await places()
    const url = await serve((_, response) => {
      if (declared) response.setHeader('content-length', 10_000_000)
      response.write(Buffer.alloc(200_000))
      if (!declared) response.end()
    })
    const reading = readDataFile(file([{ url, form: 'plain' }]), { environment })
    await expect(reading).rejects.toThrow('expected at most')
  })

  test('an abort ends the download with the reason of the signal, and leaves nothing behind', async () => {
    const { cache, environment } = await places()
    const controller = new AbortController()
    const reason = new Error('enough')
    const url = await serve((_, response) => {
      response.write('a beginning')
      setTimeout(() => controller.abort(reason), 20)
    })
    const wanted = file([{ url, form: 'plain' }])
    await expect(readDataFile(wanted, { environment, signal: controller.signal })).rejects.toBe(reason)
    await expect(readdir(cache)).rejects.toThrow('ENOENT')
    await expect(readDataFile(wanted, { environment, signal: controller.signal })).rejects.toBe(reason)
  })

  test('a cache that cannot be written costs a notice, not the file', async () => {
    const { cache, environment } = await places()
    await put(cache, Buffer.from('a file where the folder should be'))
    const url = await serve((_, response) => response.end(content))
    const notices: string[] = []
    const bytes = await readDataFile(file([{ url, form: 'plain' }]), {
      environment,
      onNotice: (line) => notices.push(line),
    })
    expect(Buffer.from(bytes)).toEqual(content)
    expect(notices).toEqual([expect.stringContaining('could not keep set/name')])
  })
})
