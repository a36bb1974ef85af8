/** Real servers to connect to, on every address of a namespace. */
import { writeFileSync } from 'node:fs';
import type { Namespace } from '../netns.ts';
import type { TestFiles } from './files.ts';

export const NGINX_PORT = 8080;
export const REDIS_PORT = 6379;

/** Serves the directory of the files, and keeps its own in it. */
export async function startNginx(ns: Namespace, files: TestFiles): Promise<void> {
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const configuration = `
    user root;
    daemon off;
    master_process off;
    pid ${files.path('nginx.pid')};
    events {}
    http {
      access_log off;
      ${paths.map((name) => `${name}_temp_path ${files.path(name)};`).join(' ')}
      server {
        listen ${NGINX_PORT};
        listen [::]:${NGINX_PORT};
        root ${files.directory};
      }
    }`;
  writeFileSync(files.path('nginx.conf'), configuration);
  ns.spawn('nginx', ['-e', 'stderr', '-c', files.path('nginx.conf')]);
  const waiting = ['--retry', '50', '--retry-delay', '0', '--retry-max-time', '10', '--retry-connrefused'];
  await ns.run('curl', ['--silent', '--output', '/dev/null', ...waiting, `http://127.0.0.1:${NGINX_PORT}/`]);
}

export async function startNodeHttp(ns: Namespace, directory: string, port: number): Promise<void> {
  const program = `
    const { createReadStream } = require('node:fs');
    require('node:http')
      .createServer((request, response) => createReadStream('.' + request.url).pipe(response))
      .listen(${port}, '::', () => console.log('listening'));`;
  await ns.spawn('node', ['-e', program], { cwd: directory }).waitFor(/listening/);
}

/** Without persistence, and without asking for a password from outside loopback. */
export async function startRedis(ns: Namespace, directory: string): Promise<void> {
  const options = ['--save', '', '--appendonly', 'no', '--protected-mode', 'no', '--bind', '0.0.0.0', '::'];
  const server = ns.spawn('redis-server', ['--port', String(REDIS_PORT), ...options], { cwd: directory });
  await server.waitFor(/Ready to accept connections/);
}
