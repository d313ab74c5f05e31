// How a machine becomes a worker of this farm, in commands to copy.

import { signal } from '@preact/signals';
import { Command } from '../parts/basic';

const IMAGE = 'tvarr/ffmpegd';
/** The worker port, unless the coordinator was told another one. */
const PORT = 9090;

type Kind = 'binary' | 'cpu' | 'nvidia' | 'vaapi' | 'jetson';

const KINDS: [Kind, string][] = [
  ['binary', 'Binary'],
  ['cpu', 'Docker, CPU'],
  ['nvidia', 'Docker, NVIDIA'],
  ['vaapi', 'Docker, VAAPI'],
  ['jetson', 'Jetson'],
];

const kind = signal<Kind>('binary');

const DEVICES: Record<Exclude<Kind, 'binary'>, string[]> = {
  cpu: [],
  nvidia: ['--gpus all', '-e NVIDIA_DRIVER_CAPABILITIES=compute,video,utility'],
  vaapi: ['--device /dev/dri', '--group-add "$(stat -c %g /dev/dri/renderD128)"'],
  jetson: ['--runtime nvidia', '-e NVIDIA_DRIVER_CAPABILITIES=all'],
};

const NOTES: Record<Kind, string> = {
  binary: 'Needs ffmpeg on the PATH and ffmpegd, nothing else. ffmpegd detect shows what the machine would offer.',
  cpu: 'Without --cpus it takes a quarter of the cores as slots.',
  nvidia: 'Needs the NVIDIA driver and the NVIDIA Container Toolkit on the host. The capability “video” gives NVENC and NVDEC.',
  vaapi: 'Intel and AMD GPUs. The render node is given to the container, with its group.',
  jetson: 'The image must be built on NVIDIA’s L4T base (BASE_IMAGE), which brings Jetson’s own encoders.',
};

export function commandFor(kind: Kind, host: string): string {
  const address = `${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${PORT}`;
  if (kind === 'binary') return `TVARR_COORDINATOR_URL=${address} \\\nTVARR_AUTH_TOKEN=TOKEN \\\nffmpegd`;
  const words = [
    'docker run -d --name ffmpegd --restart unless-stopped',
    ...DEVICES[kind],
    `-e TVARR_COORDINATOR_URL=${address}`,
    '-e TVARR_AUTH_TOKEN=TOKEN',
    `${IMAGE}${kind === 'jetson' ? ':l4t' : ''}`,
  ];
  return words.join(' \\\n  ');
}

export function Connect({ onClose }: { onClose: () => void }) {
  const chosen = kind.value;
  const host = location.hostname;
  const local = host === 'localhost' || host.startsWith('127.') || host === '[::1]';
  return (
    <section class="panel" aria-label="Connect a worker" onKeyDown={(event) => event.key === 'Escape' && onClose()}>
      <header>
        <h2>Connect a worker</h2>
        <button type="button" class="quiet" onClick={onClose} aria-label="Close">
          ✕
        </button>
      </header>
      <p>
        A worker dials the coordinator, so it may stand behind NAT. It needs one address and, off the coordinator’s own machine, a token. It is in
        the list as soon as it has tried its encoders.
      </p>
      <div class="chips" role="group" aria-label="Kind of worker">
        {KINDS.map(([each, name]) => (
          <button key={each} type="button" class="chip" aria-pressed={each === chosen} onClick={() => (kind.value = each)}>
            {name}
          </button>
        ))}
      </div>
      <Command text={commandFor(chosen, host)} label="Command for the worker’s machine" />
      <p class="dim">{NOTES[chosen]}</p>
      <dl class="facts">
        <div>
          <dt>TOKEN</dt>
          <dd>
            what the coordinator was started with as <code>TVARR_GRPC_AUTH_TOKEN</code>. Without one it takes workers of its own machine only.
          </dd>
        </div>
        <div>
          <dt>Address</dt>
          <dd>
            {local && (
              <>
                <code>{host}</code> is this machine: write its name or address for others.{' '}
              </>
            )}
            <code>{PORT}</code> is the worker port unless <code>TVARR_GRPC_PORT</code> says otherwise.
          </dd>
        </div>
      </dl>
    </section>
  );
}
