/** The stack's counters by the names that Linux's nstat has for them. */
import type { TcpCounters } from '../tcp/counters.ts';

const NAMES: Readonly<Record<string, keyof TcpCounters>> = {
  TcpActiveOpens: 'activeOpens',
  TcpPassiveOpens: 'passiveOpens',
  TcpInSegs: 'segmentsIn',
  TcpOutSegs: 'segmentsOut',
  TcpRetransSegs: 'retransmits',
  TcpOutRsts: 'resetsOut',
  TcpExtSyncookiesSent: 'cookiesSent',
  TcpExtSyncookiesRecv: 'cookiesAccepted',
  TcpExtSyncookiesFailed: 'cookiesFailed',
  TcpExtOutOfWindowIcmps: 'icmpIgnored',
  TcpExtPAWSEstab: 'paws',
  TcpExtDelayedACKs: 'delayedAcks',
  TcpExtListenDrops: 'backlogFull',
  TcpExtTCPTimeouts: 'retransmissionTimeouts',
  TcpExtTCPSackRecovery: 'fastRecoveries',
  TcpExtTCPSACKReneging: 'sackReneges',
  TcpExtTCPSpuriousRTOs: 'frtoSpurious',
  TcpExtTCPDSACKRecv: 'duplicatesReported',
  TcpExtTCPLossProbes: 'tlpProbes',
  TcpExtTCPLossProbeRecovery: 'tlpRecoveries',
  TcpExtTCPChallengeACK: 'challengeAcks',
  TcpExtTCPOFOQueue: 'outOfOrder',
  TcpExtTCPOFODrop: 'outOfOrderDropped',
  TcpExtTCPKeepAlive: 'keepAliveProbes',
  TcpExtTCPFastOpenActive: 'fastOpenAcked',
  TcpExtTCPFastOpenActiveFail: 'fastOpenFailed',
  TcpExtTCPFastOpenPassive: 'fastOpenPassive',
  TcpExtTCPFastOpenPassiveFail: 'fastOpenCookiesFailed',
  TcpExtTCPFastOpenListenOverflow: 'fastOpenLimited',
};

export class Nstat {
  readonly #before = new Map<string, number>();

  /** What has changed since the last time, a line each. */
  read(counters: TcpCounters): string[] {
    const lines: string[] = [];
    for (const [name, key] of Object.entries(NAMES)) {
      const change = counters[key] - (this.#before.get(name) ?? 0);
      this.#before.set(name, counters[key]);
      if (change !== 0) lines.push(`${name} ${change} 0.0`);
    }
    return lines;
  }
}

/** A counter's name that this stack has nothing for. */
export function isUnknownCounter(word: string): boolean {
  return /^(Tcp|TcpExt|Ip|IpExt|Icmp|Udp|MPTcpExt)[A-Z]\w+$/.test(word) && NAMES[word] === undefined;
}
