/** The scripts beside the code pass, and none of what they expect could be otherwise. */
import { globSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { Arena } from '../memory/arena.ts';
import { ARENA_BYTES } from './host.ts';
import { runScript } from './runner.ts';

const SRC = fileURLToPath(new URL('..', import.meta.url));
const SCRIPTS = globSync('**/*.pkt', { cwd: SRC }).map((path) => [basename(path), `${SRC}/${path}`]);
const arena = new Arena(ARENA_BYTES);

/** One change to a line that expects something; null when the line has nothing of the kind. */
const CHANGES: readonly [string, (line: string) => string | null][] = [
  [
    'payload',
    (line) =>
      replace(line, /> (\S+ )?udp \((\d+)\)/, (_, ports, n) => `> ${ports ?? ''}udp (${Number(n) + 1})`),
  ],
  [
    'seq',
    (line) =>
      replace(line, /(> .*?)(\d+):(\d+)\(/, (_, start, a, b) => `${start}${Number(a) + 1}:${Number(b) + 1}(`),
  ],
  ['ack', (line) => replace(line, /(> .*ack )(\d+)/, (_, start, n) => `${start}${Number(n) + 1}`)],
  [
    'flags',
    (line) =>
      replace(
        line,
        /(> (?:\[\w+\] )?)([SFRPEW.]+)( \d+:)/,
        (_, start, flags, end) => `${start}U${flags}${end}`,
      ),
  ],
  ['window', (line) => replace(line, /(> .*win )(\d+)/, (_, start, n) => `${start}${Number(n) - 1}`)],
  ['options', (line) => replace(line, /(> .*<)/, (_, start) => `${start}mss 99,`)],
  ['time', (line) => replace(line, /^(\S+)( > )/, (_, _time, end) => `+5~+6${end}`)],
  ['result', (line) => replace(line, /= (\d+)$/, (_, n) => `= ${Number(n) + 1}`)],
];

function replace(line: string, pattern: RegExp, by: (...groups: string[]) => string): string | null {
  return !line.startsWith('//') && pattern.test(line) ? line.replace(pattern, by) : null;
}

describe.each(SCRIPTS)('%s', (_, path) => {
  const text = readFileSync(path, 'utf8');

  test('passes', () => {
    const { verdict, line, reason } = runScript(text, { arena });
    expect(`${verdict} ${line} ${reason}`.trim()).toBe('pass 0');
  });

  test('over IPv6 too', () => {
    const { verdict, line, reason } = runScript(text, { arena, version: 6 });
    expect(`${verdict} ${line} ${reason}`.trim()).toBe('pass 0');
  });

  test('fails with anything that it expects changed, and says where', () => {
    const lines = text.split('\n');
    let changes = 0;
    for (const [i, line] of lines.entries()) {
      for (const [what, change] of CHANGES) {
        const changed = change(line);
        // Descriptors have the numbers that scripts give them, and so have the stack's SYNs.
        if (changed === null || (what === 'result' && /socket|accept/.test(line))) continue;
        if (what === 'seq' && /> S/.test(line)) continue;
        changes++;
        const result = runScript(lines.with(i, changed).join('\n'), { arena });
        expect({ changed, verdict: result.verdict, line: result.line }).toEqual({
          changed,
          verdict: 'fail',
          line: expect.any(Number),
        });
        expect(result.line).toBeGreaterThan(i);
      }
    }
    expect(changes).toBeGreaterThan(5);
  });
});

describe('what nobody expects', () => {
  const CONNECTED = [
    '0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3',
    '+0 bind(3, ..., ...) = 0',
    '+0 listen(3, 1) = 0',
    '+0 < S 0:0(0) win 65535 <mss 1000>',
    '+0 > S. 0:0(0) ack 1 <mss 1460>',
    '+0 < . 1:1(0) ack 1 win 65535',
    '+0 accept(3, ..., ...) = 4',
  ];
  const run = (...lines: string[]) => runScript([...CONNECTED, ...lines, ''].join('\n'), { arena });

  test('after the last packet that is expected, as in packetdrill, nobody looks', () => {
    const end = '+.1 getsockopt(4, SOL_SOCKET, SO_ERROR, [0], [4]) = 0';
    expect(run('+0 write(4, ..., 10) = 10', end).verdict).toBe('pass');
    expect(run('+0 write(4, ..., 10) = 10', end, '+0 > P. 1:11(10) ack 1').verdict).toBe('fail');
  });

  test('a packet in between', () => {
    const { verdict, line, reason } = run(
      '+0 write(4, ..., 10) = 10',
      '+0 close(4) = 0',
      '+0 > F. 11:11(0) ack 1',
    );
    expect([verdict, line]).toEqual(['fail', 10]);
    expect(reason).toContain('actual: 0.000020 > P. 1:11(10) ack 1');
  });

  test('a packet that never comes', () => {
    expect(run('+.2 > . 1:1(0) ack 1')).toMatchObject({ verdict: 'fail', line: 8 });
  });

  test('a first event that isn’t at the beginning', () => {
    expect(runScript('.1 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n', { arena })).toMatchObject({
      verdict: 'fail',
      line: 1,
    });
  });

  test('a call that blocks, or doesn’t', () => {
    expect(run('+0 read(4, ..., 10) = 10').reason).toContain('read() blocks');
    expect(run('+0...1 getsockopt(4, SOL_SOCKET, SO_ERROR, [0], [4]) = 0').reason).toContain(
      'expected to return at',
    );
    expect(run('+0...1 read(4, ..., 10) = 10', '+.5 < P. 1:11(10) ack 1 win 10').verdict).toBe('fail');
    expect(run('+0...0.5 read(4, ..., 10) = 10', '+.5 < P. 1:11(10) ack 1 win 10').verdict).toBe('pass');
  });

  test('options within brackets are all there are', () => {
    expect(run('+0 < . 1:1(0) ack 5000 win 10', '+0 > . 1:1(0) ack 1 <sack 1:2>').verdict).toBe('fail');
  });
});

describe('fields that systems fill in their own way', () => {
  const START = [
    '0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3',
    '+0 bind(3, ..., ...) = 0',
    '+0 listen(3, 1) = 0',
  ];
  const verdict = (lines: readonly string[], dialect: 'linux' | 'freebsd' = 'linux') =>
    runScript([...START, ...lines, ''].join('\n'), { arena, dialect }).verdict;

  test.each([
    ['linux', '<mss 1460,sackOK,TS val 1 ecr 7,nop,wscale *>'],
    ['freebsd', '<mss 1460,nop,wscale *,sackOK,TS val 1 ecr 7>'],
  ] as const)('options stand in the order of %s, padded so', (dialect, options) => {
    const syn = '+0 < S 0:0(0) win 65535 <mss 1460,sackOK,TS val 7 ecr 0,nop,wscale 8>';
    const answer = (given: string) => verdict([syn, `+0 > S. 0:0(0) ack 1 ${given}`], dialect);
    expect(answer(options)).toBe('pass');
    expect(answer(options.replace('nop,', ''))).toBe('fail');
    expect(answer(options.replace('mss 1460,', 'nop,nop,nop,nop,mss 1460,'))).toBe('fail');
    expect(answer(options.replace(/<(.*?),(.*)>/, '<$2,$1>'))).toBe('fail');
    expect(answer(options.replace('sackOK,', 'nop,nop,sackOK,'))).toBe('fail');
  });

  const OPEN = ['+0 < S 0:0(0) win 65535 <mss 1000>', '+0 > S. 0:0(0) ack 1 <mss 1460>'];
  const ESTABLISHED = [...OPEN, '+0 < . 1:1(0) ack 1 win 65535', '+0 accept(3, ..., ...) = 4'];

  test('PSH ends what was written, also of what is taken as one, and again', () => {
    const written = [...ESTABLISHED, '+0 write(4, ..., 3000) = 3000'];
    expect(verdict([...written, '+0 > P. 1:3001(3000) ack 1'])).toBe('pass');
    expect(verdict([...written, '+0 > . 1:3001(3000) ack 1'])).toBe('fail');
    const one = [...ESTABLISHED, '+0 write(4, ..., 10) = 10', '+0 > P. 1:11(10) ack 1'];
    expect(verdict([...one, '* > P. 1:11(10) ack 1'])).toBe('pass');
    expect(verdict([...one, '* > . 1:11(10) ack 1'])).toBe('fail');
    expect(verdict([...written, '+0 > . 1:1001(1000) ack 1'], 'freebsd')).toBe('pass');
    expect(verdict([...written, '+0 > P. 1:1001(1000) ack 1'], 'freebsd')).toBe('fail');
  });

  test('an echo of a timestamp that was never told is an error, unless it is to be scaled', () => {
    const open = [
      '+0 < S 0:0(0) win 65535 <mss 1000,sackOK,TS val 7 ecr 0>',
      '+0 > S. 0:0(0) ack 1 <mss 1460,sackOK,TS val 100 ecr 7>',
    ];
    expect(verdict([...open, '+0 < . 1:1(0) ack 1 win 9 <nop,nop,TS val 8 ecr 100>'])).toBe('pass');
    const wrong = [...open, '+0 < . 1:1(0) ack 1 win 9 <nop,nop,TS val 8 ecr 99>'];
    expect(verdict(wrong)).toBe('fail');
    const scaled = ['--tcp_ts_ecr_scaled', ...START, ...wrong, ''].join('\n');
    expect(runScript(scaled, { arena }).verdict).toBe('pass');
  });
});

describe('verdicts', () => {
  const run = (text: string) => runScript(text, { arena });
  const START = '0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n';

  test('what isn’t here is unsupported, with the reason', () => {
    expect(run('0 socket(..., SOCK_SEQPACKET, IPPROTO_SCTP) = 3\n')).toMatchObject({
      verdict: 'unsupported',
      line: 1,
      reason: 'sockets of IPPROTO_SCTP',
    });
    expect(run(`${START}+0 mmap(3) = 0\n`).reason).toContain('mmap');
    expect(run(`${START}+0 > ipv4 1.1.1.1 > 2.2.2.2: S 0:0(0)\n`).reason).toContain('tunnel');
  });

  test('packets out of tunnels are nothing to a stack that is the end of none', () => {
    const LISTENING = `${START}+0 bind(3, ..., ...) = 0\n+0 listen(3, 1) = 0\n`;
    const syn = 'S 0:0(0) win 5 <mss 1000>\n+0 > S. 0:0(0) ack 1 <...>\n';
    expect(run(`${LISTENING}+0 < ${syn}`).verdict).toBe('pass');
    for (const header of [
      'ipv4 2.2.2.2 > 192.168.0.1:',
      'ipv6 2::2 > 1::1: gre:',
      'ipv4 2.2.2.2 > 192.168.0.1: gre flags 0xb000, sum 511, off 1023, key 0x80001234, seq 512:',
      'ipv4 2.2.2.2 > 1.1.1.1: gre flags [key present, sequence# present] sum 0 off 0 key = 5 seq 6:',
      'ipv4 2.2.2.2 > 1.1.1.1: gre: mpls (label 0, tc 0, ttl 0) (label 1048575, tc 7, [S], ttl 255):',
    ])
      expect(run(`${LISTENING}+0 < ${header} ${syn}`)).toMatchObject({ verdict: 'fail', line: 5 });
  });

  test('a setting that isn’t here matters only when the script fails', () => {
    const setting = '`sysctl -w net.ipv4.tcp_dsack=0`\n';
    expect(run(`${setting}${START}`).verdict).toBe('pass');
    expect(run(`${setting}${START}+0 close(3) = 5\n`)).toMatchObject({
      verdict: 'unsupported',
      reason: expect.stringMatching(/^sysctl net.ipv4.tcp_dsack=0; without, close\(\): expected 5, got 0/),
    });
  });

  test('bad syntax fails, with the line', () => {
    expect(run(`${START}+0 close(3 = 0\n`)).toMatchObject({
      verdict: 'fail',
      line: 2,
      reason: expect.stringMatching(/^syntax: /),
    });
  });

  test('whose script it is shows', () => {
    expect(run(`\`sysctl -w net.inet.tcp.rfc1323=1\`\n${START}`).dialect).toBe('freebsd');
    expect(run(`\`./defaults.sh\`\n${START}`).dialect).toBe('linux');
    expect(run(START).dialect).toBe('linux');
    const syn = (options: string) => `${START}+0 > S  0:0(0) win 65535 <${options}>\n`;
    expect(run(syn('mss 1460,nop,wscale 6,sackOK,TS val 1 ecr 0')).dialect).toBe('freebsd');
    expect(run(syn('mss 1460,sackOK,eol,eol')).dialect).toBe('freebsd');
    expect(run(syn('mss 1460,nop,nop,sackOK,nop,wscale 8')).dialect).toBe('linux');
  });

  test('an arena is as new for each script', () => {
    const text = readFileSync(SCRIPTS[0][1], 'utf8');
    const first = runScript(text, { arena });
    expect(runScript(text, { arena })).toEqual(first);
  });
});
