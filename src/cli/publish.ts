/** Commands publish their counters for `millrace top`, where they can. */
import type { Publication } from '../control/publish.ts';
import { say } from './output.ts';

/** What is published, as the user knows it: `services tun:mr0`. */
export function publicationLabel(device: string): string {
  return `${process.argv[2]} ${device}`;
}

/** @returns what ends it. A machine that has no room for the file doesn't keep a command from its work. */
export function published(publish: () => Publication): () => void {
  try {
    const publication = publish();
    return () => publication.close();
  } catch (error) {
    say(`millrace: \`millrace top\` won't see this process: ${(error as Error).message}`);
    return () => {};
  }
}
