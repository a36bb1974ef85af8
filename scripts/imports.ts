/** Finds what a TypeScript file imports, by its text: enough for the imports that this codebase writes. */

export interface Import {
  /** As written, such as `../wire/ipv4.ts`; null when import() gets something other than a plain string. */
  readonly specifier: string | null;
  /** From 1. */
  readonly line: number;
}

/**
 * What may hide or fake a comment is matched first, so that the comments found are real. A regular expression
 * literal is told from a division by what stands before it.
 */
const TOKEN = new RegExp(
  [
    /'(?:\\.|[^'\\\n])*'/,
    /"(?:\\.|[^"\\\n])*"/,
    /`(?:\\[\s\S]|[^`\\])*`/,
    /(?<comment>\/\/.*|\/\*[\s\S]*?\*\/)/,
    /(?<=(?:^|[=(,:;!&|?{}[+>]|\breturn)\s*)\/(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\[\n])+\//,
  ]
    .map((part) => part.source)
    .join('|'),
  'gm',
);

/** `import … from 'x'`, `import 'x'`, `export … from 'x'`, each where a statement starts. */
const STATIC =
  /(?:^|[;}])\s*(?:import|export)(?:\s+type)?(?:\s*[\w$*{][\w$*{},\s]*?\bfrom)?\s*(?<quote>['"])(?<specifier>.*?)\k<quote>/gm;

/** `import('x')`, in types too, and `require('x')`. */
const DYNAMIC =
  /(?<![\w$.])(?:import|require)\s*\(\s*(?:(?<quote>['"`])(?<specifier>[^'"`$]*)\k<quote>\s*[,)])?/g;

/** @returns the imports in the order in which they stand. */
export function importsOf(text: string): Import[] {
  // Comments become blank but keep their lines, so that positions stay true.
  const code = text.replace(TOKEN, (token, ...rest) => {
    const { comment } = rest.at(-1) as { comment?: string };
    return comment === undefined ? token : token.replace(/[^\n]/g, ' ');
  });
  const found: { specifier: string | null; at: number }[] = [];
  for (const pattern of [STATIC, DYNAMIC]) {
    for (const match of code.matchAll(pattern)) {
      found.push({ specifier: match.groups?.specifier ?? null, at: match.index + match[0].search(/[ier]/) });
    }
  }
  found.sort((a, b) => a.at - b.at);
  return found.map(({ specifier, at }) => ({ specifier, line: code.slice(0, at).split('\n').length }));
}
