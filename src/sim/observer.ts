/**
 * Watches one host's segments from where its engine meets the network, and holds them to what RFC 9293 lets a TCP send
 * after what it has received. It knows nothing of the engine: flows are told apart by addresses and ports, and
 * everything else comes from the headers. Damaged packets count as not received.
 */
import type { Arena } from '../memory/arena.ts';
import { fold, pseudoIpv4, pseudoIpv6 } from '../wire/checksum.ts';
import { FLAG_ACK, FLAG_FIN, FLAG_RST, FLAG_SYN, formatTcpFlags } from '../wire/tcp.ts';
import { sackLeft, sackRight, TcpOptions, tcpOptionsParse } from '../wire/tcp-options.ts';
import type { Content } from './content.ts';
import type { Tap } from './nic.ts';
import { Ranges } from './ranges.ts';
import { Sendings } from './sendings.ts';
import { type Rule, Violation } from './violation.ts';

const PROTOCOL_TCP = 6;
/** MSS of a peer that names none (RFC 9293 3.7.1). */
const MSS_DEFAULT_4 = 536;
const MSS_DEFAULT_6 = 1220;
/** Below that engines may take a peer's MSS for mischief. */
const MSS_MIN = 64;
/** Timestamps count in ms; what an echo measures is as coarse. */
const TICK_US = 1000;
const MS = 1e6;
/** AccECN's count of marked packets in a header goes round after so many. */
const ACE_CYCLE = 8;
/** SYNs received that may become connections, a flow's. */
const SYNS_KEPT = 4;

interface Syn {
  readonly seq: number;
  readonly mss: number;
  readonly windowScale: number;
  readonly sack: boolean;
  readonly timestamps: boolean;
  readonly window: number;
  /** Bytes of data that came with it. */
  readonly length: number;
}

/** One connection as this host's segments tell it; a tuple that is used again starts anew. */
export class Flow {
  readonly name: string;
  readonly v4: boolean;
  readonly ports: number;
  readonly remote: number;
  /** Sent: initial sequence number, highest + 1, the FIN's number, what our SYN offered. */
  synSent = false;
  iss = 0;
  sndMax = 0;
  finAt = 0;
  finSent = false;
  resetSent = false;
  /** A RST came that ends it (RFC 5961 3.2). */
  resetTaken = false;
  /** A cookie opened it after another of the same numbers had ended: ACKs of that one's data may seem to be of its own. */
  revived = false;
  ownWindow = 0;
  ownWindowScale = -1;
  ownSack = false;
  ownTimestamps = false;
  /** Greatest ACK number and right edge told, and the timestamp of the last segment. */
  acked = 0;
  edgeTold = 0;
  hasAcked = false;
  tsVal = 0;
  /** When that was, ns. */
  tsValAt = 0;
  hasTsVal = false;
  readonly sendings = new Sendings();
  /** Received: the peer's SYN, in order up to `received.contiguous`, its greatest ACK, and the right edge it has told. */
  peer: Syn | null = null;
  irs = 0;
  readonly received = new Ranges();
  peerAcked = 0;
  edgeAllowed = 0;
  /** SYNs that came, the newest last. */
  syns: Syn[] = [];
  /** Sent a second time or more often; FIN counts as a byte. */
  segmentsSentAgain = 0;
  bytesSentAgain = 0;
  /** Initial sequence numbers of SYN-ACKs before the last that were cookies, and may be taken up yet; the newest last. */
  cookies: number[] = [];
  /** It has sent packets that may be marked. */
  capable = false;

  constructor(name: string, v4: boolean, ports: number, remote: number) {
    this.name = name;
    this.v4 = v4;
    this.ports = ports;
    this.remote = remote;
  }

  /** Both SYNs are through, as far as this host's wire tells. */
  get synchronized(): boolean {
    return this.synSent && this.peer !== null;
  }

  get timestamps(): boolean {
    return this.ownTimestamps && this.peer?.timestamps === true;
  }

  /** Scales of the windows that we tell, and of the peer's; both count only when both have offered (RFC 7323 2.2). */
  get ownShift(): number {
    return this.ownWindowScale >= 0 && (this.peer?.windowScale ?? -1) >= 0 ? this.ownWindowScale : 0;
  }

  get peerShift(): number {
    const shift = this.peer?.windowScale ?? -1;
    return this.ownWindowScale >= 0 && shift >= 0 ? shift : 0;
  }
}

export interface ObserverOptions {
  readonly host: string;
  readonly mtu: number;
  /** SYNs may carry data (RFC 7413). */
  readonly dataOnSyn: boolean;
  /** The host answers SYNs with cookies (RFC 4987 3.6). */
  readonly cookies: boolean;
  /** The world's time, ns. */
  readonly now: () => number;
}

export class Observer implements Tap {
  readonly flows: Flow[] = [];
  /**
   * An ACK came that may hide marks, since the owner last set this to false: the count in its header may have gone round,
   * and a sender is to assume so (RFC 9768 3.2.2.5.2).
   */
  marksHidden = false;
  readonly #arena: Arena;
  readonly #content: Content;
  readonly #options: ObserverOptions;
  readonly #tcpOptions = new TcpOptions();
  #last: Flow | null = null;
  /** The segment in hand. */
  #v4 = true;
  #remote = 0;
  #ports = 0;
  #seq = 0;
  #ack = 0;
  #flags = 0;
  #window = 0;
  #optionBytes = 0;
  #dataAt = 0;
  #length = 0;
  #ecn = 0;

  constructor(arena: Arena, content: Content, options: ObserverOptions) {
    this.#arena = arena;
    this.#content = content;
    this.#options = options;
  }

  /** The host has lost its memory: so do we. */
  forget(): void {
    this.flows.length = 0;
    this.#last = null;
  }

  /** @param ports Remote << 16 | local, as in the control block. @param remote The remote address's last word. */
  find(v4: boolean, ports: number, remote: number): Flow | null {
    const last = this.#last;
    if (last !== null && last.ports === ports && last.remote === remote && last.v4 === v4) return last;
    for (const flow of this.flows) {
      if (flow.ports !== ports || flow.remote !== remote || flow.v4 !== v4) continue;
      this.#last = flow;
      return flow;
    }
    return null;
  }

  received(at: number, length: number, damaged: boolean): void {
    if (damaged || !this.#read(at, length, false)) return;
    let flow = this.find(this.#v4, this.#ports, this.#remote);
    const syn = (this.#flags & FLAG_SYN) !== 0;
    if (flow !== null && !syn && flow.cookies.includes((this.#ack - 1) | 0))
      flow = this.#takeUp(flow, (this.#ack - 1) | 0);
    if (syn) {
      this.#synReceived(flow ?? this.#open());
      if ((this.#flags & FLAG_ACK) === 0) return;
    }
    if (flow?.peer == null) return;
    if ((this.#flags & FLAG_ACK) !== 0 && (this.#flags & FLAG_RST) === 0) {
      // Of this connection, and not of one that the tuple had before.
      if (((this.#ack - flow.iss) | 0) <= 0 || ((this.#ack - flow.sndMax) | 0) > 0) return;
      const edge = (this.#ack + (this.#window << (syn ? 0 : flow.peerShift))) | 0;
      if (((edge - flow.edgeAllowed) | 0) > 0) flow.edgeAllowed = edge;
      if (((this.#ack - flow.peerAcked) | 0) > 0) flow.peerAcked = this.#ack;
      if (flow.capable && this.#tcpOptions.accEcnKind === 0)
        this.marksHidden ||= flow.sendings.countBefore(this.#ack) >= ACE_CYCLE;
      this.#measure(flow);
    }
    if ((this.#flags & FLAG_RST) !== 0) flow.resetTaken ||= this.#seq === flow.received.contiguous;
    const start = syn ? (this.#seq + 1) | 0 : this.#seq;
    const end = (start + this.#length) | 0;
    if (this.#length > 0) flow.received.add(start, end, flow.edgeTold);
    // FIN may stand one past the window's edge: it takes no room.
    if ((this.#flags & FLAG_FIN) !== 0) flow.received.add(end, (end + 1) | 0, (flow.edgeTold + 1) | 0);
  }

  /** What the ACK in hand tells of the round-trip time. */
  #measure(flow: Flow): void {
    const now = this.#options.now();
    const o = this.#tcpOptions;
    // What lies outside of our window need not be looked at (RFC 9293 3.10.7.4).
    const last = (this.#seq + (this.#length > 0 ? this.#length - 1 : 0)) | 0;
    if (((this.#seq - flow.edgeTold) | 0) > 0 || ((last - flow.received.contiguous) | 0) < 0)
      flow.sendings.hint(this.#ack, now);
    else flow.sendings.acknowledge(this.#ack, now);
    for (let i = 0; i < o.sackCount; i++)
      flow.sendings.report(sackLeft(this.#arena.view, o, i), sackRight(this.#arena.view, o, i), now);
    if (!flow.timestamps || o.hasTimestamp === 0) return;
    const ms = ((flow.tsVal - o.tsEcr) | 0) + (now - flow.tsValAt) / MS;
    if (ms >= 0) flow.sendings.sample(ms * 1000, TICK_US);
  }

  sent(at: number, length: number): void {
    if (length > this.#options.mtu)
      this.#fail(null, 'beyond-mtu', `a packet of ${length} B, and the link takes ${this.#options.mtu}`);
    if (!this.#read(at, length, true)) return;
    this.#checkChecksum(at, length);
    const flags = this.#flags;
    let flow = this.find(this.#v4, this.#ports, this.#remote);
    if ((flags & FLAG_SYN) !== 0) {
      flow ??= this.#open();
      this.#synSent(flow);
      return;
    }
    // Answers to strangers have no flow.
    if (flow === null) {
      if ((flags & FLAG_RST) === 0)
        this.#fail(null, 'handshake', `a segment without a handshake: ${this.#text()}`);
      return;
    }
    if ((flags & FLAG_RST) !== 0) {
      if ((flags & FLAG_ACK) !== 0 && flow.synchronized && this.#seq === flow.sndMax) flow.resetSent = true;
      return;
    }
    this.#segmentSent(flow);
  }

  #segmentSent(given: Flow): void {
    const flow = this.#isRevived(given) ? this.#revive(given) : given;
    if (!flow.synchronized || (this.#flags & FLAG_ACK) === 0)
      this.#fail(flow, 'handshake', `before both SYNs are through: ${this.#text()}`);
    flow.capable ||= this.#ecn !== 0;
    if (flow.resetSent) this.#fail(flow, 'after-reset', `after its RST: ${this.#text()}`);
    this.#checkAck(flow);
    this.#checkOptions(flow);
    this.#checkSequence(flow);
  }

  /**
   * An ACK that carries a SYN cookie opens a connection, also when the host has had and ended it in the cookie's lifetime:
   * a keep-alive of a peer that sent nothing looks just like the handshake's last ACK.
   */
  #isRevived(flow: Flow): boolean {
    if (!this.#options.cookies || !flow.synchronized || ((this.#seq - flow.iss - 1) | 0) > 0) return false;
    return flow.resetSent || flow.resetTaken || ((this.#ack - flow.acked) | 0) < 0;
  }

  #revive(flow: Flow): Flow {
    const fresh = this.#again(flow, flow.iss);
    fresh.revived = true;
    this.#tell(fresh, this.#ack, (this.#ack + (this.#window << fresh.ownShift)) | 0);
    return fresh;
  }

  /** As after the SYN-ACK with `iss`. */
  #again(flow: Flow, iss: number): Flow {
    const { peer, syns } = flow;
    const fresh = new Flow(flow.name, flow.v4, flow.ports, flow.remote);
    this.#replace(flow, fresh);
    fresh.syns = syns;
    fresh.synSent = true;
    fresh.iss = iss;
    fresh.ownWindow = flow.ownWindow;
    fresh.ownWindowScale = flow.ownWindowScale;
    fresh.ownSack = flow.ownSack;
    fresh.ownTimestamps = flow.ownTimestamps;
    fresh.sndMax = (iss + 1) | 0;
    fresh.sendings.begin(fresh.sndMax);
    if (peer !== null) this.#pair(fresh, peer);
    // What came before the new one's first packet shows that it is a new one may have been for it.
    fresh.received.startAs(flow.received);
    fresh.edgeAllowed = flow.edgeAllowed;
    return fresh;
  }

  /** The peer goes by an earlier SYN-ACK of a host that doesn't know how many it has sent. */
  #takeUp(flow: Flow, iss: number): Flow {
    const fresh = this.#again(flow, iss);
    fresh.cookies = [...flow.cookies.filter((other) => other !== iss), flow.iss];
    this.#tell(fresh, flow.acked, flow.edgeTold);
    return fresh;
  }

  #replace(flow: Flow, fresh: Flow): void {
    this.flows[this.flows.indexOf(flow)] = fresh;
    this.#last = fresh;
  }

  #synReceived(flow: Flow): void {
    const o = this.#tcpOptions;
    const syn: Syn = {
      seq: this.#seq,
      mss: o.mss,
      windowScale: o.windowScale,
      sack: o.sackPermitted === 1,
      timestamps: o.hasTimestamp === 1,
      window: this.#window,
      length: this.#length,
    };
    if ((this.#flags & FLAG_ACK) !== 0) {
      // The answer to our SYN, unless we have one from it already.
      const acked = (this.#ack - flow.iss - 1) | 0;
      if (flow.synSent && flow.peer === null && acked >= 0 && ((this.#ack - flow.sndMax) | 0) <= 0) {
        this.#pair(flow, syn);
        this.#tell(flow, (syn.seq + 1) | 0, (syn.seq + 1 + flow.ownWindow) | 0);
        // The rest of the SYN's data is the server's to drop (RFC 7413 4.1.2), and ours to send like any other.
        flow.sendings.refuse(this.#ack);
      }
      return;
    }
    const known = flow.syns.findIndex((other) => other.seq === syn.seq);
    // The data of the first may count, though it is sent again without.
    const length = Math.max(syn.length, flow.syns[known]?.length ?? 0);
    if (known >= 0) flow.syns.splice(known, 1);
    flow.syns.push({ ...syn, length });
    if (flow.syns.length > SYNS_KEPT) flow.syns.shift();
  }

  /** The peer's SYN belongs to our own. */
  #pair(flow: Flow, syn: Syn): void {
    flow.peer = syn;
    flow.irs = syn.seq;
    flow.received.start((syn.seq + 1 + syn.length) | 0);
    flow.peerAcked = (flow.iss + 1) | 0;
    flow.edgeAllowed = (flow.iss + 1 + syn.window) | 0;
  }

  #synSent(flow: Flow): void {
    const seq = this.#seq;
    const o = this.#tcpOptions;
    if (this.#length > 0 && !this.#options.dataOnSyn)
      this.#fail(flow, 'handshake', `data on a SYN: ${this.#text()}`);
    const answer = (this.#flags & FLAG_ACK) !== 0;
    if (!flow.synSent || flow.iss !== seq || flow.resetSent) {
      // A new connection on this tuple.
      const { syns } = flow;
      const fresh = new Flow(flow.name, flow.v4, flow.ports, flow.remote);
      this.#replace(flow, fresh);
      fresh.syns = syns;
      // What has been taken up is none any more.
      if (this.#options.cookies && answer && flow.synSent && flow.sndMax === ((flow.iss + 1) | 0))
        fresh.cookies = [...flow.cookies, flow.iss].slice(-SYNS_KEPT);
      fresh.synSent = true;
      fresh.iss = seq;
      fresh.sndMax = seq;
      fresh.sendings.begin(seq);
      flow = fresh;
    }
    flow.ownWindow = this.#window;
    flow.ownWindowScale = o.windowScale;
    flow.ownSack = o.sackPermitted === 1;
    flow.ownTimestamps = o.hasTimestamp === 1;
    if (this.#length > 0) this.#checkContent(flow, (seq + 1) | 0);
    const end = (seq + 1 + this.#length) | 0;
    if (((end - flow.sndMax) | 0) > 0) {
      flow.sndMax = end;
      flow.sendings.add(end, this.#options.now());
    } else flow.sendings.repeat(seq, end, this.#options.now());
    this.#noteClock(flow);
    if (!answer) return;
    // It may acknowledge data that came with the SYN (RFC 7413 4.2.2).
    const syn = flow.syns.find(({ seq: first, length }) => {
      const beyond = (this.#ack - first - 1) | 0;
      return beyond >= 0 && beyond <= length;
    });
    if (syn === undefined) {
      // Later data too, where the SYN's was delivered at once.
      if (flow.peer === null) this.#fail(flow, 'handshake', `SYN-ACK for no SYN: ${this.#text()}`);
      return;
    }
    if (flow.peer === null) this.#pair(flow, syn);
    else if (flow.irs !== syn.seq) this.#fail(flow, 'handshake', `SYN-ACK for another SYN: ${this.#text()}`);
    if (!flow.hasAcked) this.#tell(flow, this.#ack, (this.#ack + this.#window) | 0);
  }

  /** The first that the peer hears of our window. */
  #tell(flow: Flow, ack: number, edge: number): void {
    flow.hasAcked = true;
    flow.acked = ack;
    flow.edgeTold = edge;
  }

  #checkAck(flow: Flow): void {
    const ack = this.#ack;
    const { contiguous } = flow.received;
    if (((ack - contiguous) | 0) > 0) {
      const by = (ack - contiguous) | 0;
      this.#fail(flow, 'ack-beyond-received', `acknowledges ${by} B that never came: ${this.#text()}`);
    }
    const shift = flow.ownShift;
    const edge = (ack + (this.#window << shift)) | 0;
    if (((ack - flow.acked) | 0) < 0)
      this.#fail(flow, 'ack-moves-back', `acknowledges ${(flow.acked - ack) | 0} B less: ${this.#text()}`);
    flow.acked = ack;
    const shrunk = (flow.edgeTold - edge) | 0;
    // Less than the scale's unit is rounding (RFC 7323 2.4).
    if (shrunk >= 1 << shift)
      this.#fail(flow, 'window-shrinks', `the right edge moves left by ${shrunk} B: ${this.#text()}`);
    if (shrunk < 0) flow.edgeTold = edge;
  }

  #checkOptions(flow: Flow): void {
    const o = this.#tcpOptions;
    if (flow.timestamps !== (o.hasTimestamp === 1))
      this.#fail(flow, 'timestamps', `${flow.timestamps ? 'without' : 'with'} timestamps: ${this.#text()}`);
    if (o.hasTimestamp === 1) {
      if (flow.hasTsVal && ((o.tsVal - flow.tsVal) | 0) < 0)
        this.#fail(flow, 'timestamps', `its clock runs backwards: ${this.#text()}`);
      flow.hasTsVal = true;
      this.#noteClock(flow);
    }
    if (o.sackCount > 0 && !(flow.ownSack && flow.peer?.sack === true))
      this.#fail(flow, 'sack-of-nothing', `SACK was not agreed: ${this.#text()}`);
    for (let i = 0; i < o.sackCount; i++) {
      const left = sackLeft(this.#arena.view, o, i);
      const right = sackRight(this.#arena.view, o, i);
      if (((right - left) | 0) <= 0 || !flow.received.covers(left, right)) {
        const [from, to] = [left, right].map((n) => (n - flow.irs) >>> 0);
        this.#fail(flow, 'sack-of-nothing', `reports ${from}..${to}, which never came: ${this.#text()}`);
      }
    }
  }

  #noteClock(flow: Flow): void {
    flow.tsVal = this.#tcpOptions.tsVal;
    flow.tsValAt = this.#options.now();
  }

  #checkSequence(flow: Flow): void {
    const fin = (this.#flags & FLAG_FIN) !== 0 ? 1 : 0;
    const seq = this.#seq;
    const dataEnd = (seq + this.#length) | 0;
    const end = (dataEnd + fin) | 0;
    if (((seq - flow.sndMax) | 0) > 0)
      this.#fail(flow, 'sequence', `leaves out ${(seq - flow.sndMax) | 0} B: ${this.#text()}`);
    // A keep-alive is one below; nothing else goes back beyond what the peer has acknowledged.
    if (((end - flow.peerAcked) | 0) < -1 && this.#length + fin > 0 && ((flow.iss - seq) | 0) >= 0)
      this.#fail(flow, 'sequence', `before its own SYN: ${this.#text()}`);
    if (flow.finSent) {
      if ((this.#length > 0 && ((dataEnd - flow.finAt) | 0) > 0) || (fin === 1 && dataEnd !== flow.finAt))
        this.#fail(flow, 'fin-moves', `its FIN was at ${(flow.finAt - flow.iss) >>> 0}: ${this.#text()}`);
    } else if (fin === 1) {
      if (((dataEnd - flow.sndMax) | 0) < 0)
        this.#fail(flow, 'fin-moves', `FIN amid what was sent: ${this.#text()}`);
      flow.finSent = true;
      flow.finAt = dataEnd;
    }
    if (this.#length === 0 && fin === 0) return;
    const over = (dataEnd - flow.edgeAllowed) | 0;
    // One byte may probe a window that is shut (RFC 9293 3.8.6.1).
    if (over > 0 && !(over === 1 && this.#length === 1))
      this.#fail(flow, 'beyond-window', `${over} B beyond the peer's window: ${this.#text()}`);
    const named = flow.peer?.mss ?? 0;
    const mss = named > 0 ? Math.max(named, MSS_MIN) : flow.v4 ? MSS_DEFAULT_4 : MSS_DEFAULT_6;
    if (this.#length + this.#optionBytes > mss)
      this.#fail(
        flow,
        'beyond-mss',
        `${this.#length} B and ${this.#optionBytes} of options, MSS ${mss}: ${this.#text()}`,
      );
    const again = (flow.sndMax - seq) | 0;
    if (again > 0) {
      flow.sendings.repeat(seq, end, this.#options.now());
      flow.segmentsSentAgain++;
      flow.bytesSentAgain += Math.min(again, this.#length + fin);
    }
    if (this.#length > 0) this.#checkContent(flow, seq);
    if (((end - flow.sndMax) | 0) <= 0) return;
    flow.sndMax = end;
    flow.sendings.add(end, this.#options.now());
  }

  /** What is sent again is what was sent, since both are what the stream has there. */
  #checkContent(flow: Flow, seq: number): void {
    const offset = (seq - flow.iss - 1) >>> 0;
    const same = this.#content.matching(flow.iss, offset, this.#dataAt, this.#length);
    if (same < this.#length)
      this.#fail(flow, 'content', `byte ${offset + same} of the stream is wrong as sent: ${this.#text()}`);
  }

  /** Reads a TCP segment, sent or received by this host, into the fields. @returns false for any other packet */
  #read(at: number, length: number, sent: boolean): boolean {
    const { view } = this.#arena;
    const v4 = view.getUint8(at) >> 4 === 4;
    const header = v4 ? 20 : 40;
    if (length < header + 20 || view.getUint8(at + (v4 ? 9 : 6)) !== PROTOCOL_TCP) return false;
    const l4 = at + header;
    const ports = view.getInt32(l4, false);
    const offsetFlags = view.getUint16(l4 + 12, false);
    const tcpHeader = (offsetFlags >> 12) << 2;
    this.#v4 = v4;
    // Traffic class and type of service end in it; IPv6 has the version's four bits before.
    this.#ecn = (v4 ? view.getUint8(at + 1) : view.getUint16(at, false) >> 4) & 3;
    this.#ports = sent ? (ports << 16) | (ports >>> 16) : ports;
    this.#remote = view.getInt32(at + (v4 ? (sent ? 16 : 12) : sent ? 36 : 20), false);
    this.#seq = view.getInt32(l4 + 4, false);
    this.#ack = view.getInt32(l4 + 8, false);
    this.#flags = offsetFlags & 0x1ff;
    this.#window = view.getUint16(l4 + 14, false);
    this.#optionBytes = tcpHeader - 20;
    this.#dataAt = l4 + tcpHeader;
    this.#length = length - header - tcpHeader;
    tcpOptionsParse(view, l4 + 20, tcpHeader - 20, this.#tcpOptions);
    return true;
  }

  #checkChecksum(at: number, length: number): void {
    const { view, kernels } = this.#arena;
    const header = this.#v4 ? 20 : 40;
    const pseudo = this.#v4
      ? pseudoIpv4(
          view.getInt32(at + 12, false),
          view.getInt32(at + 16, false),
          PROTOCOL_TCP,
          length - header,
        )
      : pseudoIpv6(view, at, PROTOCOL_TCP, length - header);
    if (fold(pseudo + kernels.sum(at + header, length - header)) !== 0xffff)
      this.#fail(null, 'checksum', `a wrong TCP checksum: ${this.#text()}`);
  }

  #open(): Flow {
    const [local, remote] = [this.#ports & 0xffff, this.#ports >>> 16];
    const name = `${this.#options.host} ${local} > node ${this.#remote & 0xff} ${remote}`;
    const flow = new Flow(name, this.#v4, this.#ports, this.#remote);
    this.flows.push(flow);
    this.#last = flow;
    return flow;
  }

  /** The segment in hand, numbers relative to its flow's initial ones. */
  #text(): string {
    const flow = this.find(this.#v4, this.#ports, this.#remote);
    const seq = (this.#seq - (flow?.iss ?? 0)) >>> 0;
    const ack = (this.#ack - (flow?.irs ?? 0)) >>> 0;
    return `[${formatTcpFlags(this.#flags)}] seq ${seq} length ${this.#length} ack ${ack} window ${this.#window}`;
  }

  #fail(flow: Flow | null, rule: Rule, message: string): never {
    throw new Violation(rule, flow?.name ?? this.#options.host, message);
  }
}
