/** `millrace pktgen`: generates, receives, measures and answers packets on a bare port, as netmap's pkt-gen. */
import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import { DEVICE_USAGE } from '../device/open.ts';
import { countFlows, type EndpointRange, parseRange, RangeTextError } from '../device/pktgen/flows.ts';
import { Histogram } from '../device/pktgen/histogram.ts';
import { Pinger, Ponger, Receiver, type Role, Sender } from '../device/pktgen/roles.ts';
import type { SequenceTracker } from '../device/pktgen/sequence.ts';
import { PacketTemplate } from '../device/pktgen/template.ts';
import { type Port, PortError } from '../device/port.ts';
import { parseMac } from '../wire/address.ts';
import { ETHER_HEADER_BYTES } from '../wire/ethernet.ts';
import { integer } from './arguments.ts';
import { clock, drive, openToolPort, PortMeter, type PortOptions, portName, withPort } from './drive.ts';
import { interrupted } from './signals.ts';

const MODES = ['tx', 'rx', 'ping', 'pong'] as const;
type Mode = (typeof MODES)[number];

interface PktgenOptions extends PortOptions {
  readonly length: number;
  readonly count?: number;
  readonly rate: number;
  readonly source: EndpointRange;
  readonly destination: EndpointRange;
  readonly sourceMac?: Uint8Array;
  readonly destinationMac: Uint8Array;
  readonly burst?: number;
  readonly duration?: number;
}

const SOURCE = '10.77.0.2:1234';
const DESTINATION = '10.77.0.1:1234';
const BROADCAST = 'ff:ff:ff:ff:ff:ff';
/** Locally administered, for a device without an address of its own. */
const MAC_DEFAULT = Uint8Array.of(0x02, 0x6d, 0x72, 0x70, 0x67, 0x01);
const PORT_DEFAULT = 1234;
const BURST_DEFAULT = 256;
/** The template's. */
const ARENA_BYTES = 128 * 1024;

export const pktgenCommand = withPort(
  new Command('pktgen')
    .description('generate packets (tx), count them (rx), measure round trips (ping), or answer (pong)')
    .addArgument(new Argument('<mode>', 'what to do').choices(MODES))
    .argument('<device>', DEVICE_USAGE, portName)
    .option('-l, --length <bytes>', 'of each frame, without FCS', integer(1, 65_535), 60)
    .option('-n, --count <packets>', 'end after so many (default: never)', integer(1, 1e15))
    .option('-R, --rate <pps>', 'packets a second; 0: as fast as possible', integer(0, 1e9), 0)
    .addOption(
      new Option('-s, --source <range>', 'addresses and ports, ADDR[:PORT][-ADDR[:PORT]]')
        .argParser(range)
        .default(range(SOURCE), SOURCE),
    )
    .addOption(
      new Option('-d, --destination <range>', 'the same')
        .argParser(range)
        .default(range(DESTINATION), DESTINATION),
    )
    .option('-S, --source-mac <mac>', "hardware address (default: the device's own)", mac)
    .addOption(
      new Option('-D, --destination-mac <mac>', 'hardware address')
        .argParser(mac)
        .default(mac(BROADCAST), BROADCAST),
    )
    .option(
      '-b, --burst <packets>',
      `packets at once; for ping, how many unanswered (default: ${BURST_DEFAULT}; ping: 1)`,
      integer(1, 65_536),
    )
    .option('-t, --duration <seconds>', 'end after so long (default: never)', seconds),
)
  .addHelpText(
    'after',
    `
Packets are UDP datagrams with a sequence number, one for each combination of the ranges' addresses and ports in turn.
Ranges are of IPv4 or IPv6, whose ports need brackets: [fd00::1]:2000-[fd00::1]:2063.

  millrace pktgen tx tun:mr0 --host 10.77.0.1/24 -s 10.77.0.2:1000-10.77.0.9:1999    8,000 flows to this host
  millrace pktgen rx tap:mr0                                            what arrives, loss and reordering
  millrace pktgen ping tun:mr0 --host 10.77.0.1/24 -d 10.77.0.1:7       round trips to an echo server there
  millrace pktgen pong tap:mr0                                          answers another pktgen's ping

Nobody answers ARP for pktgen: on Ethernet, give peers that must answer it a permanent neighbour entry.`,
  )
  .action(pktgen);

async function pktgen(mode: Mode, device: string, options: PktgenOptions): Promise<void> {
  const ended = Promise.race([interrupted(), ...(options.duration ? [after(options.duration)] : [])]);
  const port = openToolPort(device, options, ARENA_BYTES);
  try {
    const meter = new PortMeter(port);
    const { role, line, summary } = play(mode, port, options, meter);
    const timer = setInterval(() => console.log(line()), 1000);
    try {
      await drive(role, [port], ended);
    } finally {
      clearInterval(timer);
    }
    console.log(summary());
  } finally {
    port.close();
  }
}

interface Part {
  readonly role: Role;
  /** What happened in the last second. */
  line(): string;
  summary(): string;
}

function play(mode: Mode, port: Port, options: PktgenOptions, meter: PortMeter): Part {
  const { count = Number.POSITIVE_INFINITY, rate, burst = mode === 'ping' ? 1 : BURST_DEFAULT } = options;
  switch (mode) {
    case 'tx': {
      const role = new Sender(port, templateFor(port, options), { count, rate, burst });
      const flows = countFlows(options.source, options.destination);
      return {
        role,
        line: () => meter.line('tx'),
        summary: () => `${meter.summary('tx')}, ${flows} ${flows === 1 ? 'flow' : 'flows'}`,
      };
    }
    case 'rx': {
      const role = new Counting(new Receiver(port, burst), count);
      const { receiver } = role;
      const lost = difference(() => receiver.sequences);
      return {
        role,
        line: () => `${meter.line('rx')}, ${lost()}`,
        summary: () =>
          `${meter.summary('rx')}; of pktgen's ${describeSequences(receiver.sequences)}, ` +
          `${receiver.badChecksums} bad checksums; ${receiver.foreign} of others`,
      };
    }
    case 'ping': {
      const role = new Pinger(port, templateFor(port, options), { count, rate, burst }, clock);
      const all = new Histogram();
      const collect = (): void => {
        all.add(role.times);
        role.times.clear();
      };
      return {
        role,
        line: () => {
          const text = describeTimes(role.times);
          collect();
          return text;
        },
        summary: () => {
          collect();
          const lost = role.sent - all.count;
          return (
            `${role.sent} sent, ${all.count} answered, ${lost} lost, ${role.answers.late} late, ` +
            `${role.answers.duplicates} duplicate, ${role.badChecksums} bad checksums; ${describeTimes(all)}`
          );
        },
      };
    }
    case 'pong': {
      const role = new Ponger(port, burst);
      return {
        role,
        line: () => meter.line('rx', 'tx'),
        summary: () =>
          `${role.answered} answered, ${role.badChecksums} bad checksums, ${role.foreign} of others; ${meter.summary('rx')}`,
      };
    }
  }
}

/** Ends a receiver after so many of pktgen's packets. */
class Counting implements Role {
  readonly receiver: Receiver;
  readonly #count: number;

  constructor(receiver: Receiver, count: number) {
    this.receiver = receiver;
    this.#count = count;
  }

  get done(): boolean {
    return this.receiver.sequences.received >= this.#count;
  }

  step(): number {
    return this.receiver.step();
  }

  delay(): number {
    return this.receiver.delay();
  }
}

function templateFor(port: Port, options: PktgenOptions): PacketTemplate {
  const { link, mtu, mac: own } = port.capabilities;
  const { length, source, destination } = options;
  if (source.family !== destination.family) {
    throw new RangeTextError('--source and --destination are of one IP version: give both');
  }
  const longest = mtu + (link === 'ether' ? ETHER_HEADER_BYTES : 0);
  const template = new PacketTemplate(port.arena, {
    link,
    length,
    src: source,
    dst: destination,
    srcMac: options.sourceMac ?? own ?? MAC_DEFAULT,
    dstMac: options.destinationMac,
  });
  if (template.length > longest) {
    throw new PortError(
      'EMSGSIZE',
      `${port.name} takes frames of ${longest} bytes at most, not ${template.length}: lower --length or raise --mtu`,
    );
  }
  return template;
}

/** What got lost, late or doubled since the last call. */
function difference(now: () => SequenceTracker): () => string {
  let before = { lost: 0, late: 0, duplicates: 0 };
  return () => {
    const { lost, late, duplicates } = now();
    const text = `${lost - before.lost} lost, ${late - before.late} late, ${duplicates - before.duplicates} duplicate`;
    before = { lost, late, duplicates };
    return text;
  };
}

function describeSequences({ received, lost, late, duplicates, restarts }: SequenceTracker): string {
  return `${received} received, ${lost} lost, ${late} late, ${duplicates} duplicate, ${restarts} restarts`;
}

function describeTimes(times: Histogram): string {
  const us = (ns: number): string => (ns / 1000).toFixed(1);
  const quantiles = [0.5, 0.9, 0.99, 0.999].map((share) => `p${share * 100} ${us(times.quantile(share))}`);
  return `${times.count} round trips, ${quantiles.join(', ')}, max ${us(times.max)} us`;
}

function range(text: string): EndpointRange {
  try {
    return parseRange(text, PORT_DEFAULT);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

function mac(text: string): Uint8Array {
  try {
    return parseMac(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
}

function seconds(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 1e6)) throw new InvalidArgumentError('It is a number of seconds above 0.');
  return value;
}

function after(duration_s: number): Promise<void> {
  return new Promise((resolve) => void setTimeout(resolve, duration_s * 1000).unref());
}
