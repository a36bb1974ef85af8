/** `millrace services`: echo, discard, chargen, daytime and a minimal HTTP responder, on the handlers API. */
import { Command } from 'commander';
import { responder } from '../serve/responder.ts';
import { chargen, daytime, daytimeDatagrams, discard, echo, echoDatagrams } from '../serve/small-services.ts';
import { say } from './output.ts';
import { interrupted } from './signals.ts';
import { addressesOf, type DeviceOptions, openDevice, withDevice } from './stack.ts';

export const servicesCommand = withDevice(
  new Command('services').description(
    'run echo (7), discard (9), daytime (13), chargen (19) and a responder (8080)',
  ),
  'tun:mr0',
)
  .addHelpText(
    'after',
    `
The responder on 8080 speaks as much HTTP as load tools do: GET /N is answered with N bytes (N up to 16 MiB),
keep-alive or close. Echo, discard and daytime are there over UDP, too.`,
  )
  .action(services);

async function services(options: DeviceOptions): Promise<void> {
  if (options.device === 'cable')
    throw new Error('the services need a device that clients can reach: --device tun:NAME or tap:NAME');
  const ended = interrupted();
  const opened = await openDevice(options);
  const { engine } = opened.stack;
  const list = [
    { name: 'echo', port: 7, handlers: echo(engine) },
    { name: 'discard', port: 9, handlers: discard(engine) },
    { name: 'daytime', port: 13, handlers: daytime(engine) },
    { name: 'chargen', port: 19, handlers: chargen(engine) },
    { name: 'http', port: 8080, handlers: responder(engine) },
  ];
  for (const { port, handlers } of list) engine.listen({ port, noDelay: true }, handlers);
  engine.datagrams.bind({ port: 7 }, echoDatagrams(engine));
  engine.datagrams.bind({ port: 9 }, {});
  engine.datagrams.bind({ port: 13 }, daytimeDatagrams(engine));
  for (const address of addressesOf(options)) {
    console.log(`${address.split('/')[0]}: ${list.map((s) => `${s.name} ${s.port}`).join(', ')}`);
  }
  say('Ctrl-C ends it.');
  await ended;
  await opened.close();
}
