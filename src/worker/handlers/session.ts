/** Messages about the session and the worker as a whole. */
import { sottoError } from '../../errors.ts'
import type { HandlersOf } from '../handlers.ts'
import { PROTOCOL_VERSION } from '../protocol.ts'

/** Peers that one session may introduce. */
const PEERS = 4096

export const sessionHandlers: HandlersOf<
  'hello' | 'peers' | 'deposit' | 'search' | 'objects' | 'flush' | 'ledger' | 'stats'
> = {
  hello(session, { version, name, session: id, secret }) {
    if (session.greeted) throw sottoError('ERR_PROTOCOL', 'hello comes once')
    if (version !== PROTOCOL_VERSION) {
      throw sottoError(
        'ERR_VERSION',
        `this worker speaks version ${PROTOCOL_VERSION} of the protocol, the peer ${version}`,
      )
    }
    session.greet(name, id, secret)
    return { worker: session.host.id, version: PROTOCOL_VERSION }
  },

  peers(session, { peers }) {
    for (const peer of peers) {
      const { name } = peer
      if (session.peers.size >= PEERS && !session.peers.has(name)) {
        throw sottoError('ERR_LIMIT', `${PEERS} peers were introduced in this session; no more fit`)
      }
      session.introduce(peer)
    }
  },

  deposit(session, { key, content }) {
    if (session.role !== 'peer') throw sottoError('ERR_PERMISSION', 'only a peer may deposit')
    session.put(key, session.name, content)
  },

  search: (session, { tags }) => session.host.store.tagged(tags, session),

  objects: (session) => session.host.store.infos(session),

  flush(session) {
    const end = (): null => {
      session.raiseAll()
      return null
    }
    return session.isIdle ? end() : session.idle().then(end)
  },

  ledger: (session) => session.host.ledger.entries(),

  stats: (session) => session.host.stats(),
}
