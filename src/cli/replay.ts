/** `millrace replay`: sends the packets of a capture file again, as tcpreplay. */
import { statSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import { DEVICE_USAGE } from '../device/open.ts';
import type { CapturedPacket } from '../device/pcap-reader.ts';
import { Replayer, type ReplayOptions } from '../device/replay.ts';
import { integer } from './arguments.ts';
import { packetsOf } from './capture-file.ts';
import { drive, openToolPort, PortMeter, type PortOptions, portName, withPort } from './drive.ts';
import { interrupted } from './signals.ts';

interface ReplayCommandOptions extends PortOptions {
  readonly speed?: number;
  readonly rate?: number;
  readonly topspeed?: true;
  readonly loop: number;
}

/** A packet takes some 300 B beside its own. */
const PRELOAD_BYTES_MAX = 32 << 20;

export const replayCommand = withPort(
  new Command('replay')
    .description('send the packets of a capture file again, with the pauses between them')
    .argument('<file>', 'pcap or pcapng')
    .argument('<device>', DEVICE_USAGE, portName)
    .option('-x, --speed <times>', 'so many times faster than they came', times)
    .option('-R, --rate <pps>', 'packets a second instead', integer(1, 1e9))
    .option('-t, --topspeed', 'as fast as possible instead')
    .option('-l, --loop <passes>', 'send the file so often; 0: until Ctrl-C', integer(0, 1e9), 1),
)
  .addHelpText(
    'after',
    `
Packets of another link than the device's (Ethernet, IP), packets that were cut when they were captured, and those that
are longer than the device takes are left out and counted.`,
  )
  .action(replay);

async function replay(file: string, device: string, options: ReplayCommandOptions): Promise<void> {
  const settings = timing(options);
  const ended = interrupted();
  const open = passes(file);
  const port = openToolPort(device, options, 0);
  try {
    const meter = new PortMeter(port);
    const replayer = new Replayer(port, open, settings);
    const timer = setInterval(() => console.log(`${meter.line('tx')}, ${replayer.sent} sent so far`), 1000);
    try {
      await drive(replayer, [port], ended);
    } finally {
      clearInterval(timer);
    }
    const { otherLink, cut, tooLong } = replayer;
    console.log(
      `${meter.summary('tx')}; left out: ${otherLink} of other links, ${cut} cut, ${tooLong} too long`,
    );
  } finally {
    port.close();
  }
}

/** A file that isn't too large is read once, before the device is made; others again for each pass. */
function passes(file: string): () => Iterator<CapturedPacket> {
  if (statSync(file).size > PRELOAD_BYTES_MAX) return () => packetsOf(file);
  const packets = [...packetsOf(file)];
  return () => packets.values();
}

function timing({ speed, rate, topspeed, loop }: ReplayCommandOptions): ReplayOptions {
  if ([speed, rate, topspeed].filter((given) => given !== undefined).length > 1)
    throw new Error('--speed, --rate and --topspeed are three ways to say one thing: give one of them');
  return {
    timing: topspeed ? 'top' : rate !== undefined ? 'rate' : 'original',
    speed: speed ?? 1,
    rate: rate ?? 0,
    loops: loop === 0 ? Number.POSITIVE_INFINITY : loop,
  };
}

function times(text: string): number {
  const value = Number(text);
  if (!(value > 0 && value <= 1e6))
    throw new InvalidArgumentError('It is a number above 0, such as 2 or 0.5.');
  return value;
}
