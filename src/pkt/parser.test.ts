/** The language: what parses, to what, and what doesn't. */
import { describe, expect, test } from 'vitest';
import { FLAG_ACK, FLAG_AE, FLAG_CWR, FLAG_ECE, FLAG_FIN, FLAG_PSH, FLAG_SYN } from '../wire/tcp.ts';
import { ScriptSyntaxError } from './errors.ts';
import { parseScript } from './parser.ts';
import type { PacketSpec, SystemCall, TcpSpec } from './script.ts';

function packet(text: string): PacketSpec {
  const [event] = parseScript(`0 ${text}\n`).events;
  if (event.action.type !== 'packet') throw new Error('not a packet');
  return event.action;
}

function tcp(text: string): TcpSpec {
  const { transport } = packet(text);
  if (transport.protocol !== 'tcp') throw new Error('not TCP');
  return transport;
}

function call(text: string): SystemCall {
  const [event] = parseScript(`0 ${text}\n`).events;
  if (event.action.type !== 'call') throw new Error('not a call');
  return event.action;
}

describe('times', () => {
  test.each([
    ['1.5', 'absolute', 1_500_000, 1_500_000],
    ['2', 'absolute', 2e6, 2e6],
    ['+.1', 'relative', 100_000, 100_000],
    ['+0', 'relative', 0, 0],
    ['1.0~2.0', 'absolute range', 1e6, 2e6],
    ['+0~+.1', 'relative range', 0, 100_000],
    ['*', 'any', 0, 0],
  ])('%s', (text, kind, us, endUs) => {
    expect(parseScript(`${text} > . 1:1(0) ack 1\n`).events[0].time).toEqual({ kind, us, endUs });
  });

  test.each(['+0...0.5', '0...0.500', '+.1 ... 0.2'])('%s read(): a call that blocks', (text) => {
    const [event] = parseScript(`${text} read(3, ..., 10) = 10\n`).events;
    expect(event.action).toMatchObject({ type: 'call', name: 'read' });
    expect(event.action.type === 'call' && event.action.endUs).toBeGreaterThan(0);
  });

  test.each(['+0~+.1 < . 1:1(0)', '* close(3) = 0', '2.0~1.0 > . 1:1(0)'])('not %s', (text) => {
    expect(() => parseScript(`${text}\n`)).toThrow(ScriptSyntaxError);
  });
});

describe('TCP packets', () => {
  test.each([
    ['S 0:0(0)', FLAG_SYN],
    ['S. 0:0(0) ack 1', FLAG_SYN | FLAG_ACK],
    ['. 1:1(0) ack 1', FLAG_ACK],
    ['FP. 1:1(0) ack 1', FLAG_FIN | FLAG_PSH | FLAG_ACK],
    ['SEW 0:0(0)', FLAG_SYN | FLAG_ECE | FLAG_CWR],
    ['SEWA 0:0(0)', FLAG_SYN | FLAG_ECE | FLAG_CWR | FLAG_AE],
    ['EAP. 1:2(1) ack 1', FLAG_ECE | FLAG_AE | FLAG_PSH | FLAG_ACK],
    ['- 1:1(0)', 0],
  ])('%s', (text, flags) => {
    expect(tcp(`< ${text}`).flags).toBe(flags);
  });

  test('ACE as a number (RFC 9768)', () => {
    expect(tcp('> .5 1:1(0) ack 1')).toMatchObject({ flags: FLAG_ACK | FLAG_AE | FLAG_ECE, ace: 5 });
    expect(tcp('> P5. 1:2(1) ack 1').ace).toBe(5);
  });

  test('numbers, window and urgent pointer', () => {
    expect(tcp('< . 4294967295:4(5) ack 7 win 9 urg 2')).toMatchObject({
      seq: 4294967295,
      length: 5,
      ack: 7,
      window: 9,
      urgent: 2,
    });
    expect(tcp('> . 1:1(0) ack 1 win ...').window).toBeNull();
    expect(tcp('> . 1:1(0) ack 1').window).toBeNull();
    expect(tcp('> R. 5:5(0)! ack 8!')).toMatchObject({ seqAbsolute: true, ackAbsolute: true });
  });

  test.each([
    ['mss 1460', { kind: 'mss', value: 1460 }],
    ['wscale 8', { kind: 'wscale', value: 8 }],
    ['wscale *', { kind: 'wscale', value: null }],
    ['sackOK', { kind: 'sackOK' }],
    ['nop', { kind: 'nop' }],
    ['eol', { kind: 'eol' }],
    [
      'sack 1:3 5:7',
      {
        kind: 'sack',
        blocks: [
          [1, 3],
          [5, 7],
        ],
      },
    ],
    ['TS val 5 ecr 6', { kind: 'TS', val: 5, ecr: 6, ecrAbsolute: false }],
    ['TS val ... ecr 6', { kind: 'TS', val: null, ecr: 6 }],
    ['FO', { kind: 'FO', cookie: '', experimental: false }],
    ['FO abcd1234', { kind: 'FO', cookie: 'abcd1234' }],
    ['FOEXP abcd', { kind: 'FO', cookie: 'abcd', experimental: true }],
    ['md5 000102030405060708090a0b0c0d0e0f', { kind: 'md5' }],
    ['EXP-FO abcd', { kind: 'FO', cookie: 'abcd', experimental: true }],
    ['ECN e1b 1 ceb 0 e0b 1', { kind: 'ECN' }],
    [
      'AccECN1 EE1B 3 ECEB 2',
      {
        kind: 'ECN',
        counters: [
          { name: 'e1b', value: 3 },
          { name: 'ceb', value: 2 },
        ],
      },
    ],
    ['AccECN0 EE0B 3', { kind: 'ECN', counters: [{ name: 'e0b', value: 3 }] }],
    ['exp-tarr 5', { kind: 'other' }],
  ])('option %s', (text, option) => {
    expect(tcp(`> . 1:1(0) ack 1 <${text}>`).options).toEqual([expect.objectContaining(option)]);
  });

  test('any options, and none', () => {
    expect(tcp('> S 0:0(0) <...>').options).toBeNull();
    expect(tcp('> S 0:0(0)').options).toEqual([]);
    expect(() => tcp('< S 0:0(0) win 1 <...>')).toThrow('only be expected');
  });

  test('what stands before: IP-ECN, tos, ttl, flow label, ports, tunnels', () => {
    expect(packet('> [ect0] P. 1:2(1) ack 1').ip.ecn).toBe('ect0');
    expect(packet('< [ce] . 1:2(1) ack 1').ip.ecn).toBe('ce');
    expect(packet('> [tos 0x10] . 1:2(1) ack 1').ip.tos).toBe(16);
    expect(packet('< (ttl 5) . 1:2(1) ack 1').ip.ttl).toBe(5);
    expect(packet('> (flowlabel 0x1) . 1:2(1) ack 1').ip.flowLabel).toBe(1);
    expect(packet('< 2000 > 8080 S 0:0(0) win 5')).toMatchObject({ srcPort: 2000, dstPort: 8080 });
    expect(packet('< . 1:1(0) ack 1 win 5 /udp(9899 > 9899)').tunnel).toEqual({
      srcPort: 9899,
      dstPort: 9899,
    });
    expect(packet('< ipv4 1.1.1.1 > 2.2.2.2: gre: . 1:1(0) ack 1').encapsulation).toHaveLength(2);
    expect(packet('> S 0:0(0) <...> { mut tcp mss }').mutated).toBe(true);
  });

  test.each([
    ['< X 0:0(0)'],
    ['< S 0:5(0)'],
    ['< S 0:0'],
    ['< . 1:1(0) ack -1'],
    ['< . 1:1(0) ack 1 win 65536'],
    ['< [ect01] . 1:1(0) ack 1'],
    ['< . 1:1(0) ack 1 <mss>'],
    ['< . 1:1(0) ack 1 <nop'],
  ])('not %s', (text) => {
    expect(() => packet(text)).toThrow(ScriptSyntaxError);
  });
});

describe('other packets', () => {
  test('UDP', () => {
    expect(packet('< udp (1000)').transport).toMatchObject({ protocol: 'udp', length: 1000 });
    expect(packet('> 53 > 5000 udp (5)')).toMatchObject({ srcPort: 53, dstPort: 5000 });
  });

  test('ICMP with what it quotes', () => {
    expect(packet('< icmp unreachable frag_needed mtu 1200 [1:1461(1460)]').transport).toMatchObject({
      protocol: 'icmp',
      name: 'unreachable',
      code: 'frag_needed',
      mtu: 1200,
      quoted: { protocol: 'tcp', seq: 1, length: 1460 },
    });
    expect(packet('< [1:1(0)] icmp unreachable port_unreachable').transport).toMatchObject({
      quoted: { protocol: 'tcp', seq: 1 },
    });
    expect(packet('< icmp unreachable [udp (100)]').transport).toMatchObject({ quoted: { protocol: 'udp' } });
  });
});

describe('system calls', () => {
  test('arguments of all kinds', () => {
    expect(
      call('bind(3, {sa_family = AF_INET, sin_port = htons(80), sin_addr = inet_addr("1.2.3.4")}, ...) = 0')
        .args,
    ).toHaveLength(3);
    expect(call('fcntl(3, F_SETFL, O_RDWR | O_NONBLOCK) = 0').args[2]).toMatchObject({ type: 'or' });
    expect(call('setsockopt(3, SOL_SOCKET, SO_SNDBUF, [2000], 4) = 0').args[3]).toMatchObject({
      type: 'list',
    });
    expect(call('poll([{fd=3, events=POLLIN, revents=0}], 1, 0) = 0').args).toHaveLength(3);
    expect(
      call('setsockopt(3, SOL_TCP, TCP_FASTOPEN_KEY, "\\xa1b", 2) = -1 (Invalid Argument)').args[3],
    ).toMatchObject({
      type: 'string',
      value: '\xa1b',
    });
  });

  test('results', () => {
    expect(call('connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)')).toMatchObject({
      errno: 'EINPROGRESS',
      endUs: null,
    });
    expect(call('fcntl(3, F_GETFL) = 0x2 (flags O_RDWR)')).toMatchObject({
      result: { value: 2 },
      errno: null,
    });
    expect(call('accept(3, ..., ...) = ...').result.type).toBe('ellipsis');
  });
});

describe('around the events', () => {
  test('options, the first shell line, comments, code, the last shell line', () => {
    const script = parseScript(
      [
        '// a comment, and /* one */',
        '--ip_version=ipv6',
        '--tolerance_usecs=10000',
        '`./defaults.sh',
        ' sysctl -q net.ipv4.tcp_ecn=1`',
        '0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3 /* over',
        'lines */',
        '+0 %{',
        'assert tcpi_state == 1',
        '}%',
        '`true`',
      ].join('\n'),
    );
    expect(script.options.map(({ name, value }) => [name, value])).toEqual([
      ['ip_version', 'ipv6'],
      ['tolerance_usecs', '10000'],
    ]);
    expect(script.init?.text).toContain('tcp_ecn=1');
    expect(script.events.map(({ action }) => action.type)).toEqual(['call', 'code']);
    expect(script.cleanup?.text.trim()).toBe('true');
  });

  test('#ifdef chooses, and lines keep their numbers', () => {
    const text = '#ifdef FreeBSD\n0 close(1) = 0\n#else\n0 close(2) = 0\n#endif\n+0 close(3) = 0\n';
    const lines = (symbols: string[]) => parseScript(text, { symbols }).events.map(({ line }) => line);
    expect(lines(['FreeBSD'])).toEqual([2, 6]);
    expect(lines([])).toEqual([4, 6]);
    expect(() => parseScript('#endif\n0 close(1) = 0\n')).toThrow('without its #ifdef');
    expect(() => parseScript('#ifdef X\n0 close(1) = 0\n')).toThrow('without #endif');
  });

  test('words that are defined stand for others', () => {
    const defines = new Map([['COOKIE', 'abcd']]);
    const [event] = parseScript('0 > S 0:0(0) <FO COOKIE>\n', { defines }).events;
    expect(event.action).toMatchObject({ transport: { options: [{ kind: 'FO', cookie: 'abcd' }] } });
  });

  test.each(['', '0', '0 close(3)', '0 `true', '0 %{ assert 1', '/* no end', '0 close(3) = 0 "open'])(
    'not %j',
    (text) => {
      expect(() => parseScript(text)).toThrow(ScriptSyntaxError);
    },
  );
});
