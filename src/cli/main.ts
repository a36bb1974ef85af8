#!/usr/bin/env node
/** The `millrace` command: one file for each subcommand. */
import { Command } from 'commander';
import { bridgeCommand } from './bridge.ts';
import { captureCommand } from './capture.ts';
import { connectCommand } from './connect.ts';
import { doctorCommand } from './doctor.ts';
import { linkCommand } from './link.ts';
import { exitWithError } from './output.ts';
import { pingCommand } from './ping.ts';
import { pktCommand } from './pkt.ts';
import { pktgenCommand } from './pktgen.ts';
import { replayCommand } from './replay.ts';
import { serveCommand } from './serve.ts';
import { servicesCommand } from './services.ts';
import { switchCommand } from './switch.ts';
import { topCommand } from './top.ts';

const program = new Command('millrace')
  .description('A TCP/IP stack in user space, and tools for the packets under it.')
  .showHelpAfterError('(--help tells what there is)')
  .addCommand(serveCommand)
  .addCommand(servicesCommand)
  .addCommand(connectCommand)
  .addCommand(pingCommand)
  .addCommand(pktCommand)
  .addCommand(pktgenCommand)
  .addCommand(captureCommand)
  .addCommand(replayCommand)
  .addCommand(topCommand)
  .addCommand(bridgeCommand)
  .addCommand(switchCommand)
  .addCommand(linkCommand)
  .addCommand(doctorCommand);

process.on('uncaughtException', exitWithError);
await program.parseAsync().catch(exitWithError);
