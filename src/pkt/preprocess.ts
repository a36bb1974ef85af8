/** Conditional lines as scripts for several systems have them: `#ifdef NAME`, `#ifndef`, `#else`, `#endif`. */
import { ScriptSyntaxError } from './errors.ts';

const DIRECTIVE = /^[ \t]*#[ \t]*(ifdef|ifndef|else|endif)\b[ \t]*([A-Za-z0-9_]*)/;

/** @returns the text with what doesn't apply blanked, line for line. @throws ScriptSyntaxError */
export function preprocess(text: string, defined: ReadonlySet<string>): string {
  if (!text.includes('#')) return text;
  const open: { line: number; active: boolean; elseSeen: boolean }[] = [];
  const lines = text.split('\n');
  for (let i = 0; i < lines.length; i++) {
    const directive = DIRECTIVE.exec(lines[i]);
    if (directive === null) {
      if (!open.every((block) => block.active)) lines[i] = '';
      continue;
    }
    lines[i] = '';
    const [, kind, name] = directive;
    if (kind === 'ifdef' || kind === 'ifndef') {
      open.push({ line: i + 1, active: defined.has(name) === (kind === 'ifdef'), elseSeen: false });
      continue;
    }
    const block = open.at(-1);
    if (block === undefined || (kind === 'else' && block.elseSeen))
      throw new ScriptSyntaxError(i + 1, `#${kind} without its #ifdef`);
    if (kind === 'endif') open.pop();
    else {
      block.active = !block.active;
      block.elseSeen = true;
    }
  }
  const left = open.at(-1);
  if (left !== undefined) throw new ScriptSyntaxError(left.line, '#ifdef without #endif');
  return lines.join('\n');
}
