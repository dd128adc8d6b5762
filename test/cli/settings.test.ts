/** What a worker is told: flags, a configuration file, and what of the two holds. No process, no network. */
import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { UsageError } from '../../src/cli/io.ts'
import { parseSettings, settingsOf } from '../../src/cli/settings.ts'
import { flagOf, workerOptions } from '../../src/cli/worker-options.ts'
import { Identity } from '../../src/worker/identity.ts'
import { sotto, temporaryFolder } from './run.ts'

const { path, remove } = temporaryFolder()
afterAll(remove)

const usage = async (action: () => unknown): Promise<string> => {
  try {
    await action()
  } catch (error) {
    expect(error).toBeInstanceOf(UsageError)
    return (error as Error).message
  }
  throw new Error('it was to be refused, and was not')
}

const whole = `
id: bob
host: 0.0.0.0
port: 9000
identity: keys/bob.key
checkpoints: saved
tlsCert: bob.pem
tlsKey: /etc/bob.key
tlsCa: ca.pem
tokens: tokens.json
clientCertificates: true
insecure: false
data:
  images: images.npy
  ages: ../ages.csv
tags: { images: ['#mnist', 'train'] }
columns: { ages: [age, sex] }
allow: { ages: [me] }
allowResults: { ages: [me, ana] }
allowShares: { ages: [alice, carol] }
allowTotals: { ages: [] }
public: [images]
limit: { objects: 100, frame: 1000000 }
grace: 1000
heartbeat: 0
owner: Bob & sons
peerCa: ca.pem
backend: wasm
logLevel: warn
`

describe('a configuration file', () => {
  it('says what flags say, with paths that are relative to its folder', () => {
    expect(parseSettings(whole, '/srv/worker.yaml')).toEqual({
      id: 'bob',
      host: '0.0.0.0',
      port: 9000,
      identity: '/srv/keys/bob.key',
      checkpoints: '/srv/saved',
      tlsCert: '/srv/bob.pem',
      tlsKey: '/etc/bob.key',
      tlsCa: '/srv/ca.pem',
      tokens: '/srv/tokens.json',
      clientCertificates: true,
      insecure: false,
      data: { images: '/srv/images.npy', ages: '/ages.csv' },
      tags: { images: ['#mnist', 'train'] },
      columns: { ages: ['age', 'sex'] },
      allow: { ages: ['me'] },
      allowResults: { ages: ['me', 'ana'] },
      allowShares: { ages: ['alice', 'carol'] },
      allowTotals: { ages: [] },
      public: ['images'],
      limit: { objects: 100, frame: 1_000_000 },
      grace: 1000,
      heartbeat: 0,
      owner: 'Bob & sons',
      peerCa: '/srv/ca.pem',
      backend: 'wasm',
      logLevel: 'warn',
    })
  })

  it('says the same in JSON, tabs and all', () => {
    expect(parseSettings('{\n\t"id": "bob",\n\t"data": { "a": "a.npy" }\n}', 'b.json')).toEqual({
      id: 'bob',
      data: { a: resolve('a.npy') },
    })
    expect(parseSettings('# nothing yet\n', 'b.yaml')).toEqual({})
  })

  it.each([
    ['prot: 1', 'w.yaml: "prot" is no option; there are id, identity, checkpoints, data,'],
    ['port: "9000"', 'w.yaml: "port" expected a whole number from 0 to 65535'],
    ['port: 65536', 'w.yaml: "port" expected a whole number from 0 to 65535'],
    ['grace: -1', 'w.yaml: "grace" expected a whole number from 0'],
    ['grace: .inf', 'w.yaml: "grace" expected a whole number from 0'],
    ['checkpoints: [saved]', 'w.yaml: "checkpoints" expected the path of a folder'],
    ['id: 7', 'w.yaml: "id" expected a name of 1 to 256 characters'],
    ['id: ""', 'w.yaml: "id" expected a name of 1 to 256 characters'],
    ['insecure: yes', 'w.yaml: "insecure" expected true or false'],
    ['backend: gpu', 'w.yaml: "backend" expected one of tensorflow, wasm, cpu'],
    ['dial: https://hub', 'w.yaml: "dial" expected wss://host:port, or ws://'],
    ['pin: ed25519:short', 'w.yaml: "pin" expected a key, ed25519:…'],
    ['data: [a.npy]', 'w.yaml: "data" expected paths of files by names'],
    ['data: { a: 1 }', 'w.yaml: "data.a": "data" expected paths of files by names'],
    ['allow: { a: me }', 'w.yaml: "allow.a": "allow" expected lists of identities by names'],
    ['tags:\n  a:\n  - #a', 'w.yaml: "tags.a.0": "tags" expected lists of tags by names'],
    ['limit: { objects: 1.5 }', 'w.yaml: "limit.objects": "limit" expected whole numbers from 0, by names out of'],
    [
      'limit: { object: 1 }',
      'w.yaml: "limit.object": "limit" expected whole numbers from 0, by names out of elements,',
    ],
    ['public: images', 'w.yaml: "public" expected a list of names'],
    ['- id', 'w.yaml: expected options by their names, such as "id: bob"'],
    ['bob', 'w.yaml: expected options by their names, such as "id: bob"'],
    ['id: a\nid: b', 'w.yaml: Map keys must be unique at line 2, column 1'],
    ['id: [', 'w.yaml: Flow sequence in block collection must be'],
    ['id: !!js/function f', 'w.yaml: Unresolved tag: tag:yaml.org,2002:js/function at line 1, column 5'],
  ])('is refused when it says %j', async (text, message) => {
    expect(await usage(() => parseSettings(text, 'w.yaml'))).toContain(message)
  })

  it('is not shown when it is refused: it may hold a token', async () => {
    const secret = 'sotto_abcdefghijkl_SECRET'
    for (const text of [`token: [${secret}]`, `token: "${secret}`, `token: ${secret}: b`]) {
      const message = await usage(() => parseSettings(text, 'w.yaml'))
      expect(message.split('\n')).toHaveLength(1)
      expect(message).not.toContain('SECRET')
    }
  })
})

describe('flags', () => {
  /** What the command makes of flags, up to where it would start: files that are not there stop it. */
  const refusal = async (...args: string[]) => {
    const { code, out, err } = await sotto(['worker', ...args])
    expect(out).toBe('')
    expect(code).toBe(2)
    return err.split('\n')[0]
  }

  it('have the names of the options, each in its kebab case', () => {
    expect(flagOf('allowResults')).toBe('--allow-results')
    expect(Object.keys(workerOptions)).toHaveLength(35)
    expect(Object.values(workerOptions).every(({ help }) => /^[^.].*\.$/.test(help))).toBe(true)
  })

  it.each([
    [[], 'sotto: a worker needs a name: --id bob'],
    [['--id', 'bob', '--port', 'x'], 'sotto: --port expected a whole number from 0 to 65535'],
    [['--id', 'bob', '--port', '-1'], 'sotto: --port expected a whole number from 0 to 65535'],
    [['--id', 'bob', '--prot', '1'], "sotto: unknown option '--prot'"],
    [['--id', 'bob', 'alice'], "sotto: too many arguments for 'worker'. Expected 0 arguments but got 1."],
    [['--id', 'bob', '--data', 'a.npy'], 'sotto: --data expected name=file'],
    [['--id', 'bob', '--data', '=a.npy'], 'sotto: --data expected name=file'],
    [['--id', 'bob', '--data', 'a='], 'sotto: --data a: "data" expected paths of files by names'],
    [['--id', 'bob', '--limit', 'objects=many'], 'sotto: --limit objects: "limit" expected whole numbers from 0'],
    [['--id', 'bob', '--limit', 'object=1'], 'sotto: --limit object: "limit" expected whole numbers from 0'],
    [['--id', 'bob', '--tags', 'a=#b'], 'sotto: --tags: no data of the name "a"; there is none'],
    [['--id', 'bob', '--data', 'b=b.npy', '--public', 'a'], 'sotto: --public: no data of the name "a"; there are b'],
    [
      ['--id', 'bob', '--data', 'b=b.npy', '--public', 'b', '--allow', 'b=me'],
      'sotto: "b" is public, and --allow says who may see it',
    ],
    [['--id', 'bob', '--tls-cert', 'a.pem'], 'sotto: --tls-cert and --tls-key go together'],
    [['--id', 'bob', '--tls-ca', 'a.pem'], 'sotto: --tls-ca needs --tls-cert and --tls-key'],
    [['--id', 'bob', '--client-certificates'], 'sotto: --client-certificates needs a --tls-ca that vouches for them'],
    [['--id', 'bob', '--pin', Identity.generate().key], 'sotto: --pin goes with --dial only'],
    [
      ['--id', 'bob', '--dial', 'ws://h', '--port', '1'],
      'sotto: --port does not go with --dial, which does not listen',
    ],
    [['--id', 'bob', '--dial', 'ws://h', '--limit', 'frame=1'], 'sotto: --limit frame does not go with --dial'],
    [
      ['--id', 'bob', '--dial', 'ws://h', '--token', 'a', '--token-file', 'b'],
      'sotto: give --token or --token-file, not both',
    ],
    [['--config', 'nowhere.yaml'], 'sotto: nowhere.yaml: there is no such file'],
  ])('%j are refused', async (args, message) => {
    expect(await refusal(...args)).toContain(message)
  })

  it('win over the file, name by name', async () => {
    writeFileSync(path('w.yaml'), whole)
    const flags = {
      id: 'ann',
      port: 0,
      data: { ages: 'new.csv', more: 'more.npy' },
      allow: { ages: [] },
      public: ['more'],
      limit: { frame: 5 },
    }
    const settings = await settingsOf(flags, path('w.yaml'))
    expect(settings).toMatchObject({
      id: 'ann',
      port: 0,
      host: '0.0.0.0',
      data: { images: path('images.npy'), ages: 'new.csv', more: 'more.npy' },
      columns: { ages: ['age', 'sex'] },
      allow: { ages: [] },
      public: ['images', 'more'],
      limit: { objects: 100, frame: 5 },
    })
  })

  it('give a token in place of the file that the configuration names, and the other way round', async () => {
    writeFileSync(path('d.yaml'), 'id: ann\ndial: wss://hub\ntokenFile: t')
    expect(await settingsOf({ token: 'a' }, path('d.yaml'))).toEqual({ id: 'ann', dial: 'wss://hub', token: 'a' })
    writeFileSync(path('d.yaml'), 'id: ann\ndial: wss://hub\ntoken: t')
    expect(await settingsOf({ tokenFile: 'f' }, path('d.yaml'))).not.toHaveProperty('token')
    expect(await settingsOf({}, path('d.yaml'))).toHaveProperty('token', 't')
  })
})
