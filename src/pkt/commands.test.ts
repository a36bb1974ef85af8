/** Shell lines: what they set, ask and leave alone. */
import { describe, expect, test } from 'vitest';
import { type CommandTarget, type RouteSettings, runCommand } from './commands.ts';
import { Settings } from './settings.ts';
import type { Dialect } from './symbols.ts';

class Target implements CommandTarget {
  readonly settings: Settings;
  readonly dropped: string[] = [];
  readonly routes: RouteSettings[] = [];
  slept = 0;
  mtu = 0;

  constructor(dialect: Dialect) {
    this.settings = new Settings(dialect);
  }

  sockets(): string[] {
    return ['root packetdrill 1 3 tcp4 *:8080 * LISTEN', 'root packetdrill 1 3 tcp4 *:8080 * TIME_WAIT'];
  }
  counters(): string[] {
    return ['TcpExtTCPTimeouts 2 0.0'];
  }
  dropConnections(state: string): void {
    this.dropped.push(state);
  }
  setRoute(route: RouteSettings): void {
    this.routes.push(route);
  }
  setMtu(mtu: number): void {
    this.mtu = mtu;
  }
  sleep(us: number): void {
    this.slept += us;
  }
}

function run(text: string, dialect: Dialect = 'linux'): Target & { failed: string | null } {
  const target = new Target(dialect);
  return Object.assign(target, { failed: runCommand(text, target) });
}

describe('settings', () => {
  test('of Linux, by sysctl and by file', () => {
    const { settings } = run(
      'sysctl -q net.ipv4.tcp_timestamps=0\n../common/set_sysctls.py /proc/sys/net/ipv4/tcp_sack=0',
    );
    expect(settings.limits).toMatchObject({ timestamps: false, sack: false });
    expect(settings.missing).toEqual([]);
    expect(run('sysctl -w net.ipv4.tcp_rmem="4096 100000 200000"').settings).toMatchObject({
      receiveBuffer: 50_000,
      limits: { receiveBufferMax: 200_000 },
    });
    expect(run('./defaults.sh').settings.limits.receiveBufferMax).toBe(15 << 20);
  });

  test('of FreeBSD', () => {
    const { settings } = run(
      'sysctl -w net.inet.tcp.rfc1323=2; sysctl -w net.inet.tcp.recvspace=30000',
      'freebsd',
    );
    expect(settings.limits).toMatchObject({ timestamps: false, windowScale: true });
    expect(settings.receiveBuffer).toBe(30_000);
  });

  test('that this stack doesn’t have are noted, harmless ones aren’t', () => {
    expect(run('sysctl -w net.ipv4.tcp_dsack=0').settings.missing).toEqual(['sysctl net.ipv4.tcp_dsack=0']);
    expect(run('sysctl -w net.ipv4.tcp_nonsense=1').settings.missing).toHaveLength(1);
    expect(run('sysctl -w net.core.somaxconn=1; tc qdisc add dev tun0 root pfifo').settings.missing).toEqual(
      [],
    );
    expect(run('frobnicate --all').settings.missing).toEqual(["command 'frobnicate'"]);
  });

  test('of routes', () => {
    expect(run('ip route change 192.0.2.0/24 dev tun0 initcwnd 4 rto_min 50ms').routes).toEqual([
      { initCwnd: 4, rtoMin_ms: 50 },
    ]);
  });
});

describe('pipelines', () => {
  test('sockets are counted', () => {
    expect(run('sockstat -P tcp -s | grep TIME_WAIT').failed).toBeNull();
    expect(run('sockstat -P tcp -s | grep -c TIME_WAIT | grep 1').failed).toBeNull();
    expect(run('sockstat -P tcp -s | grep CLOSING').failed).toContain('grep CLOSING');
    expect(run('sockstat -s | grep -v LISTEN | wc -l | grep -E "^ *1$"').failed).toBeNull();
    expect(run('tcpdrop -a -s TIME_WAIT').dropped).toEqual(['TIME_WAIT']);
  });

  test('counters', () => {
    expect(run('nstat | grep TcpExtTCPTimeouts > /dev/null').failed).toBeNull();
    expect(run('nstat | grep TcpExtTCPLossProbes').failed).not.toBeNull();
    expect(run('nstat | grep TcpExtTCPMD5Failure').settings.missing).toEqual([
      'the counter TcpExtTCPMD5Failure',
    ]);
  });

  test('&&, || and ; go by the last exit code', () => {
    expect(run('false || true').failed).toBeNull();
    expect(run('false && sleep 5').slept).toBe(0);
    expect(run('true && sleep 0.5').slept).toBe(500_000);
    expect(run('false; true').failed).toBeNull();
    expect(run('true; false').failed).not.toBeNull();
  });
});
