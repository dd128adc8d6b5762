/**
 * Scopes: what was made inside and not returned is freed at the end; and `noGrad`.
 *
 * Where the runtime can follow asynchronous calls (Node's AsyncLocalStorage) a scope may be async; elsewhere an async
 * function is refused.
 */
import { sottoError } from '../errors.ts'
import type { Location, ObjectId } from './location.ts'

/** An object that somebody else is to free; that of a secret is at several places. */
export type Surrendered =
  | { readonly location: Location; readonly id: ObjectId }
  | { readonly locations: readonly Location[]; readonly id: ObjectId }

/** What a scope can free. */
export interface Disposable {
  dispose(): void
  /** Gives up an object without saying so to its worker; the scope says it for all of them in one frame. */
  surrender?(): Surrendered | null
}

interface Context {
  readonly made: Set<Disposable> | null
  readonly grad: boolean
}

interface Storage {
  run<T>(store: Context, action: () => T): T
  getStore(): Context | undefined
}

const root: Context = { made: null, grad: true }
let stack: Context = root
let storage: Storage | null | undefined

/** Nothing is looked up, and no hook of the runtime switched on, before the first scope is opened. */
function asyncStorage(): Storage | null {
  if (storage === undefined) {
    const hooks = globalThis.process?.getBuiltinModule?.('node:async_hooks')
    storage = hooks ? new hooks.AsyncLocalStorage<Context>() : null
  }
  return storage
}

function current(): Context {
  return storage ? (storage.getStore() ?? root) : stack
}

function within<T>(context: Context, action: () => T): T {
  const store = asyncStorage()
  if (store) return store.run(context, action)
  const outer = stack
  stack = context
  try {
    const result = action()
    if (result instanceof Promise) {
      throw sottoError('ERR_ASYNC_SCOPE', 'an async function cannot be followed here; wait outside the scope')
    }
    return result
  } finally {
    stack = outer
  }
}

/** Registers something made, so that the scope around it can free it. */
export function track(item: Disposable): void {
  current().made?.add(item)
}

export const gradEnabled = (): boolean => current().grad

/**
 * Runs an action without recording anything for backward. May be async.
 *
 * @returns what the action returns
 */
export function noGrad<T>(action: () => T): T {
  return within({ made: current().made, grad: false }, action)
}

/** Runs an action that records what it takes for its own backward, whatever is around it. May be async. */
export function withGrad<T>(action: () => T): T {
  return within({ made: current().made, grad: true }, action)
}

/** Runs an action; what is made inside belongs to no scope, and is for the action's owner to free. */
export function unscoped<T>(action: () => T): T {
  return within({ made: null, grad: current().grad }, action)
}

/**
 * Runs an action, then frees every pointer and remote model that was made inside and is not part of what it returns
 * (itself, or inside arrays, plain objects, maps and sets). May be async. Scopes nest: what a scope returns belongs to
 * the scope around it.
 *
 * @example const loss = scope(() => { const l = net.apply(x).sub(y).square().sum(); l.backward(); opt.step(); return l })
 */
export function scope<T>(action: () => T): T {
  const made = new Set<Disposable>()
  const outer = current()
  const end = (result: unknown) => {
    const kept = new Set<unknown>()
    collect(result, kept, 0)
    const freed = new Map<Location, ObjectId[]>()
    for (const item of made) {
      if (kept.has(item)) outer.made?.add(item)
      else if (item.surrender === undefined) item.dispose()
      else {
        const object = item.surrender()
        if (object === null) continue
        for (const location of 'locations' in object ? object.locations : [object.location]) {
          const ids = freed.get(location)
          if (ids) ids.push(object.id)
          else freed.set(location, [object.id])
        }
      }
    }
    // A timer that was set inside keeps this context, and would keep everything made in it.
    made.clear()
    for (const [location, ids] of freed) {
      for (let at = 0; at < ids.length; at += MOST_IDS) location.tell('free', { ids: ids.slice(at, at + MOST_IDS) })
    }
  }
  let result: T
  try {
    result = within({ made, grad: outer.grad }, action)
  } catch (error) {
    end(undefined)
    throw error
  }
  if (!(result instanceof Promise)) {
    end(result)
    return result
  }
  return result.then(
    (value) => {
      end(value)
      return value
    },
    (error) => {
      end(undefined)
      throw error
    },
  ) as T
}

/** Objects freed by one frame. */
const MOST_IDS = 1024

/** Deep enough for any result of pointers one would return; a cycle ends there too. */
const DEPTH = 8

function collect(value: unknown, into: Set<unknown>, depth: number): void {
  if (typeof value !== 'object' || value === null || into.has(value) || depth > DEPTH) return
  into.add(value)
  if (Array.isArray(value) || value instanceof Set) for (const item of value) collect(item, into, depth + 1)
  else if (value instanceof Map) for (const item of value.values()) collect(item, into, depth + 1)
  else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const item of Object.values(value)) collect(item, into, depth + 1)
  }
}
