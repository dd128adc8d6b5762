/** Works out what is the same for a whole file, or for every file of a process, once for each key. */
export function once<K extends string | number, T>(make: (key: K) => T): (key: K) => T {
  const made = new Map<K, T>()
  return (key) => {
    const known = made.get(key) ?? make(key)
    made.set(key, known)
    return known
  }
}
