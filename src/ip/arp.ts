/** ARP input (RFC 826, with the defences of RFC 5227 2.4): answers, and what may be learnt. */
import {
  ARP_REPLY,
  ARP_REQUEST,
  arpCheck,
  arpOperation,
  arpSenderIp,
  arpSenderMacHigh,
  arpSenderMacLow,
  arpTargetIp,
} from '../wire/arp.ts';
import { tentativeConflict4 } from './addresses.ts';
import { type Interface, interfaceHas4, interfaceOnLink4 } from './interface.ts';
import type { Ip } from './ip.ts';
import { HEARD_ANSWER, HEARD_QUESTION, HEARD_UNASKED, neighbourHeard } from './neighbours.ts';
import { arpSend, mayDefend } from './solicit.ts';

/** @param at Byte offset of the ARP packet. */
export function arpInput(ip: Ip, iface: Interface, at: number, length: number, linkCast: number): void {
  const { view } = ip;
  const { counters } = iface;
  if (arpCheck(view, at, length) < 0) {
    counters.arpBad++;
    return;
  }
  const operation = arpOperation(view, at);
  const sender = arpSenderIp(view, at);
  const target = arpTargetIp(view, at);
  const macHigh = arpSenderMacHigh(view, at);
  const macLow = arpSenderMacLow(view, at);
  // Our own frames come back on some links.
  if (macHigh === iface.macHigh && macLow === iface.macLow) return;
  if (interfaceHas4(iface, sender)) {
    counters.addressConflicts++;
    // RFC 5227 2.4(b): one announcement tells everybody where the address lives.
    if (mayDefend(ip, iface)) arpSend(ip, iface, ARP_REQUEST, 0xffff, -1, sender, 0, 0, sender);
    return;
  }
  // RFC 5227 2.1.1: it is somebody's, or somebody is asking the same as we.
  if (iface.tentative.length > 0 && tentativeConflict4(ip, iface, sender === 0 ? target : sender)) return;
  const toUs = interfaceHas4(iface, target);
  // A probe (sender 0, RFC 5227 2.1.1) teaches nothing but must be answered.
  if (sender !== 0) {
    if ((macHigh | macLow) === 0 || !interfaceOnLink4(iface, sender)) {
      counters.arpBad++;
      return;
    }
    let how = HEARD_UNASKED;
    if (toUs && operation === ARP_REQUEST) how = HEARD_QUESTION;
    // Nobody answers a question of ours by broadcast.
    else if (toUs && linkCast === 0) how = HEARD_ANSWER;
    // Requests to others fill the cache of nobody, and are no offence either.
    if (how !== HEARD_UNASKED || operation === ARP_REPLY || sender === target) {
      neighbourHeard(ip, iface, 4, sender, 0, 0, 0, macHigh, macLow, how);
    }
  }
  if (operation !== ARP_REQUEST || !toUs) return;
  counters.arpRequests++;
  if (arpSend(ip, iface, ARP_REPLY, macHigh, macLow, target, macHigh, macLow, sender)) counters.arpReplies++;
}
