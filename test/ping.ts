/**
 * The kernel's ping, for `node --input-type=module -e`, with an address and how many echoes.
 *
 * One request after the other. Each is waited for as long as it takes: a machine that is busy, or stops us for a while,
 * makes answers late, however long one would wait, but loses none. Says each round-trip time, ms.
 */
export const PING = `
  import { PingSocket } from '${new URL('../src/device/tun.testing.ts', import.meta.url)}';
  import { emitIcmp } from '${new URL('../src/wire/icmp.ts', import.meta.url)}';
  import { emitIcmpv6 } from '${new URL('../src/wire/icmpv6.ts', import.meta.url)}';
  const [to, count] = [process.argv[1], Number(process.argv[2])];
  const v6 = to.includes(':');
  using socket = new PingSocket(v6);
  for (let seq = 0; seq < count; seq++) {
    const message = { kind: 'echo request', id: process.pid & 0xffff, seq, payload: new Uint8Array(56) };
    const at = performance.now();
    socket.send(to, v6 ? emitIcmpv6(message, { src: '::', dst: to }) : emitIcmp(message));
    for (let answer; answer?.[0] !== (v6 ? 129 : 0) || ((answer[6] << 8) | answer[7]) !== seq; ) {
      await new Promise((resolve) => setImmediate(resolve));
      answer = socket.receive();
    }
    console.log(performance.now() - at);
  }`;
