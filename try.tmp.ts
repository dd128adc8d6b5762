import { channelPair } from './src/psi/channel.ts'
import { idsOf } from './src/psi/ids.ts'
import { intersectOver } from './src/psi/two-party.ts'
const run = async (n: number, m: number, shared: number, opts: object = {}) => {
  const a = Array.from({length:n},(_, i)=>`user${i}@example.org`), b = Array.from({length:m},(_, i)=>`user${i+n-shared}@example.org`)
  let t = performance.now()
  const [A,B]=[idsOf(a),idsOf(b)]
  const hash = performance.now()-t
  const [x,y]=channelPair()
  t = performance.now()
  const enc=new TextEncoder()
  const [ra,rb]=await Promise.all([intersectOver(x,A,{side:'first',...opts, ...('pay' in opts ? {} : {})}),intersectOver(y,B,{side:'second',...opts})])
  const ms=performance.now()-t
  console.log(n,m,JSON.stringify(opts),'size',ra.size,rb.size,'hash',hash.toFixed(0),'ms',ms.toFixed(0),((n+m)/ms*1000).toFixed(0),'rec/s', ra.traffic, (ra.traffic.bytesSent+rb.traffic.bytesSent)*8/Math.max(n,m),'bits')
  if (ra.rows && rb.rows) for (let i=0;i<ra.rows.length;i++) if (a[ra.rows[i]!]!==b[rb.rows[i]!]) throw new Error('misaligned')
  if (ra.size!==undefined && ra.size!==shared) throw new Error('wrong '+ra.size)
}
await run(10,20,5)
await run(0,20,0); await run(1,1,1); await run(1,1,0); await run(1000,3000,500)
await run(10000,10000,5000)
await run(10000,10000,5000)
await run(100000,100000,50000)
await run(100000,100000,50000)
await run(1,100000,1)
await run(100000,10,3,{reveal:'one'})
await run(100,200,50,{protocol:'curve'}); await run(100,200,50,{reveal:'size'})
await run(3000,3000,50,{protocol:'curve',threads:0}); 
await run(3000,3000,50,{protocol:'curve',threads:2}); 
