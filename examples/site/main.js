// Downloads from the server that this page came from, checks every byte, and shows how long it took.

const LARGE_BYTES = 2 ** 20;
const SMALL_REQUESTS = 50;

const element = (id) => document.getElementById(id);
const proof = document.querySelector('.proof');
const race = document.querySelector('.race');

/** A fetch past the browser's cache, which would make any network look fast. */
async function get(path) {
  const response = await fetch(path, { cache: 'no-store' });
  if (!response.ok) throw new Error(`${path}: ${response.status} ${response.statusText}`);
  return response;
}

function fill(fraction) {
  race.style.setProperty('--filled', fraction);
  race.setAttribute('aria-valuenow', Math.round(fraction * 100));
}

/** Byte i of the file is i mod 251: a byte lost, doubled or out of place shows. */
async function downloadLarge() {
  const started = performance.now();
  const { body } = await get('water.bin');
  let at = 0;
  for await (const chunk of chunks(body)) {
    for (let i = 0; i < chunk.length; i++) {
      if (chunk[i] !== (at + i) % 251)
        throw new Error(`byte ${at + i} is ${chunk[i]}, not ${(at + i) % 251}`);
    }
    at += chunk.length;
    fill(at / LARGE_BYTES);
  }
  if (at !== LARGE_BYTES) throw new Error(`${at} bytes came, not ${LARGE_BYTES}`);
  return performance.now() - started;
}

/** Not every browser can iterate over a stream. */
async function* chunks(stream) {
  const reader = stream.getReader();
  for (let next = await reader.read(); !next.done; next = await reader.read()) yield next.value;
}

async function downloadSmall() {
  const started = performance.now();
  await (await get('logo.svg')).arrayBuffer();
  return performance.now() - started;
}

async function medianOfSmall() {
  const times = [];
  for (let i = 0; i < SMALL_REQUESTS; i++) times.push(await downloadSmall());
  return times.sort((a, b) => a - b)[SMALL_REQUESTS / 2];
}

async function burstOfSmall() {
  const started = performance.now();
  await Promise.all(Array.from({ length: SMALL_REQUESTS }, downloadSmall));
  return performance.now() - started;
}

const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(1) : ms.toFixed(0)} ms`;

async function run() {
  proof.dataset.state = 'running';
  element('again').disabled = true;
  element('verdict').textContent = 'Downloading…';
  fill(0);
  try {
    const large = await downloadLarge();
    element('large').textContent = milliseconds(large);
    element('rate').textContent =
      `${((LARGE_BYTES * 8) / large / 1000).toFixed(0)} Mbit/s, every byte checked`;
    element('small').textContent = milliseconds(await medianOfSmall());
    element('burst').textContent = milliseconds(await burstOfSmall());
    element('verdict').textContent = `Everything arrived whole, from ${location.host}.`;
    proof.dataset.state = 'done';
  } catch (error) {
    element('verdict').textContent = `That went wrong: ${error.message}`;
    proof.dataset.state = 'failed';
  }
  element('again').disabled = false;
}

element('again').addEventListener('click', run);
run();
