/** Hosts of their own for benchmarks: network namespaces with a wire between them, where this machine lets us. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import type { Line } from './relay.ts'

export interface Host {
  readonly address: string
  /** What puts a process on the host. */
  readonly inside: readonly string[]
}

export interface Hosts {
  readonly hosts: readonly Host[]
  /** Where processes outside listen for those hosts. */
  readonly outside: string
  /** Whether the kernel makes the wires as slow as they are to be. */
  readonly isSlow: boolean
  readonly how: string
  remove(): void
}

/** Whether this host passes on what the others say to each other. */
const FORWARDING = '/proc/sys/net/ipv4/ip_forward'

const run = (command: string): boolean => {
  const [program, ...args] = command.split(' ')
  return spawnSync(program!, args, { stdio: 'ignore' }).status === 0
}

/** Makes namespaces with a wire each to this host; without the right or the means, all hosts are this machine itself. */
export function makeHosts(names: readonly string[], { latency, rate }: Line): Hosts {
  const spaces = names.map((name) => `sotto-${name}`)
  const before = existsSync(FORWARDING) ? readFileSync(FORWARDING, 'utf8') : ''
  let isForwarding = false
  const remove = () => {
    for (const space of spaces) run(`ip netns del ${space}`)
    if (isForwarding) writeFileSync(FORWARDING, before)
  }
  remove()
  const here = {
    hosts: names.map(() => ({ address: '127.0.0.1', inside: [] })),
    outside: '127.0.0.1',
    isSlow: false,
    how: 'processes of one host',
    remove: () => {},
  }
  const isMade = spaces.every((space, i) => {
    const [ours, theirs] = [`10.77.${i}.1`, `10.77.${i}.2`]
    return (
      run(`ip netns add ${space}`) &&
      run(`ip link add sotto${i} type veth peer name eth0 netns ${space}`) &&
      run(`ip addr add ${ours}/24 dev sotto${i}`) &&
      run(`ip link set sotto${i} up`) &&
      run(`ip netns exec ${space} ip addr add ${theirs}/24 dev eth0`) &&
      run(`ip netns exec ${space} ip link set eth0 up`) &&
      run(`ip netns exec ${space} ip link set lo up`) &&
      run(`ip netns exec ${space} ip route add default via ${ours}`)
    )
  })
  if (isMade) {
    writeFileSync(FORWARDING, '1')
    isForwarding = true
  } else {
    remove()
    return here
  }
  // A frame leaves one host and enters another: half of the latency at each.
  const slow = `netem delay ${latency / 2}ms rate ${8 * rate}bit`
  const isSlow = spaces.every(
    (space, i) =>
      run(`tc qdisc add dev sotto${i} root ${slow}`) &&
      run(`ip netns exec ${space} tc qdisc add dev eth0 root ${slow}`),
  )
  return {
    hosts: spaces.map((space, i) => ({ address: `10.77.${i}.2`, inside: ['ip', 'netns', 'exec', space] })),
    outside: '10.77.0.1',
    isSlow,
    how: 'hosts in network namespaces of their own',
    remove,
  }
}
