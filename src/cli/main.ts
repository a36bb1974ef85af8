#!/usr/bin/env node
/** The `millrace` command: one file for each subcommand, of which only the one that is asked for gets loaded. */
import { Command } from 'commander';
import { exitWithError } from './output.ts';

/** In the order of `--help`. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./serve.ts')).serveCommand,
  services: async () => (await import('./services.ts')).servicesCommand,
  connect: async () => (await import('./connect.ts')).connectCommand,
  ping: async () => (await import('./ping.ts')).pingCommand,
  pkt: async () => (await import('./pkt.ts')).pktCommand,
  pktgen: async () => (await import('./pktgen.ts')).pktgenCommand,
  capture: async () => (await import('./capture.ts')).captureCommand,
  replay: async () => (await import('./replay.ts')).replayCommand,
  top: async () => (await import('./top.ts')).topCommand,
  bridge: async () => (await import('./bridge.ts')).bridgeCommand,
  switch: async () => (await import('./switch.ts')).switchCommand,
  link: async () => (await import('./link.ts')).linkCommand,
  doctor: async () => (await import('./doctor.ts')).doctorCommand,
};

process.on('uncaughtException', exitWithError);
const program = new Command('millrace')
  .description('A TCP/IP stack in user space, and tools for the packets under it.')
  .showHelpAfterError('(--help tells what there is)');
const [, , asked] = process.argv;
for (const load of Object.hasOwn(COMMANDS, asked) ? [COMMANDS[asked]] : Object.values(COMMANDS))
  program.addCommand(await load());
await program.parseAsync().catch(exitWithError);
