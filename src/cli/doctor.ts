/** `millrace doctor`: what this machine allows, and what to do where it doesn't. */
import { Command } from 'commander';
import { probe } from '../os/probe.ts';

export const doctorCommand = new Command('doctor')
  .description('tell what this machine allows, and what to do about what is missing')
  .option('--json', 'print JSON')
  .action(doctor);

function doctor(options: { json?: boolean }): void {
  const findings = probe();
  if (options.json) {
    console.log(JSON.stringify(findings, null, 2));
    return;
  }
  const width = Math.max(...findings.map((f) => f.name.length));
  for (const { name, ok, detail, advice } of findings) {
    console.log(`${ok ? 'ok     ' : 'missing'}  ${name.padEnd(width)}  ${detail}`);
    if (!ok && advice) console.log(`${' '.repeat(width + 11)}${advice}`);
  }
  console.log('\nWithout any of these, `millrace serve DIR` works: its default device is a cable in memory.');
}
