#!/usr/bin/env node
/** The `millrace` command: one file for each subcommand. */
import { Command } from 'commander';
import { captureCommand } from './capture.ts';
import { connectCommand } from './connect.ts';
import { doctorCommand } from './doctor.ts';
import { exitWithError } from './output.ts';
import { pingCommand } from './ping.ts';
import { pktCommand } from './pkt.ts';
import { pktgenCommand } from './pktgen.ts';
import { replayCommand } from './replay.ts';
import { serveCommand } from './serve.ts';
import { servicesCommand } from './services.ts';
import { topCommand } from './top.ts';

const program = new Command('millrace')
  .description("A TCP/IP stack in user space. Each command runs on our own TCP, not the kernel's.")
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
  .addCommand(doctorCommand);

process.on('uncaughtException', exitWithError);
await program.parseAsync().catch(exitWithError);
