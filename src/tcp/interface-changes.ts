/** What connections notice when addresses of ours go, or a link's MTU changes. */
import { Address4, type Address6, type Interface } from '../ip/interface.ts';
import { pathMtu } from '../ip/path-mtu.ts';
import { FLAG, STATE, TCB } from './block.ts';
import { tcpDestroy } from './close.ts';
import { halfOpenRemove } from './passive-open.ts';
import { mtuLower, searchEnd } from './plpmtud.ts';
import { CLOSED_NO_ADDRESS } from './reasons.ts';
import type { Tcp } from './tcp.ts';
import { timeWaitRemove } from './time-wait.ts';

const { FLAGS, STATE: ST, LADDR, LADDR6, RADDR, RADDR6, IFACE, PMTU } = TCB;
const { V6, MINI } = FLAG;

/** Ends the connections of an address, without a word to the peers: nothing may be sent from it any more. */
export function tcpAddressGone(tcp: Tcp, address: Address4 | Address6): void {
  const { m } = tcp;
  for (const t of blocks(tcp)) {
    const v6 = (m[t + FLAGS] & V6) !== 0;
    if (address instanceof Address4) {
      if (v6 || m[t + LADDR] !== address.address) continue;
    } else if (!v6 || !address.is(m[t + LADDR6], m[t + LADDR6 + 1], m[t + LADDR6 + 2], m[t + LADDR6 + 3])) {
      continue;
    }
    if ((m[t + FLAGS] & MINI) === 0) tcpDestroy(tcp, t, CLOSED_NO_ADDRESS);
    else if (m[t + ST] === STATE.TIME_WAIT) timeWaitRemove(tcp, t);
    else halfOpenRemove(tcp, t);
  }
}

/** Segments are no larger than the link takes from now on; they are no larger than before either, without asking. */
export function tcpMtuChanged(tcp: Tcp, iface: Interface): void {
  const { m, ip } = tcp;
  for (const t of blocks(tcp)) {
    if ((m[t + FLAGS] & MINI) !== 0 || m[t + IFACE] !== iface.index) continue;
    const mtu =
      (m[t + FLAGS] & V6) !== 0
        ? pathMtu(ip, iface, 6, m[t + RADDR6], m[t + RADDR6 + 1], m[t + RADDR6 + 2], m[t + RADDR6 + 3])
        : pathMtu(ip, iface, 4, m[t + RADDR], 0, 0, 0);
    if (mtu >= m[t + PMTU]) continue;
    mtuLower(tcp, t, mtu);
    searchEnd(tcp, t, mtu);
  }
}

/** Every block that a packet can find, noted first: the table moves as they go. */
function blocks(tcp: Tcp): number[] {
  const { base, mask } = tcp.table;
  const found: number[] = [];
  for (let i = 0; i <= mask; i++) {
    const t = tcp.m[base + 2 * i + 1];
    if (t !== 0) found.push(t);
  }
  return found;
}
