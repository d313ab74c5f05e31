// How a machine becomes a worker of this farm, in commands to copy.

import { signal } from '@preact/signals';
import { Command } from '../parts/basic';
import { Panel } from '../parts/panel';
import { workerPort } from '../state/fleet';

/** Unless the coordinator was told another one. */
const USUAL_PORT = 9090;

type Kind = 'binary' | 'cpu' | 'nvidia' | 'vaapi' | 'jetson';

const KINDS: [Kind, string][] = [
  ['binary', 'Binary'],
  ['cpu', 'Docker, CPU'],
  ['nvidia', 'Docker, NVIDIA'],
  ['vaapi', 'Docker, VAAPI'],
  ['jetson', 'Jetson'],
];

const kind = signal<Kind>('binary');

/** As docker-compose.yml and docs/jetson.md name them. */
export const IMAGES: Record<Exclude<Kind, 'binary'>, string> = {
  cpu: 'tvarr-ffmpegd',
  nvidia: 'tvarr-ffmpegd',
  vaapi: 'tvarr-ffmpegd-vaapi',
  jetson: 'tvarr-ffmpegd-jetson',
};

const DEVICES: Record<Exclude<Kind, 'binary'>, string[]> = {
  cpu: [],
  nvidia: ['--gpus all', '-e NVIDIA_DRIVER_CAPABILITIES=compute,utility,video'],
  vaapi: ['--device /dev/dri', '--group-add "$(stat -c %g /dev/dri/renderD128)"'],
  jetson: ['--runtime nvidia', '-e NVIDIA_DRIVER_CAPABILITIES=all', '-v /etc/nv_tegra_release:/etc/nv_tegra_release:ro'],
};

/** What makes the image, in this project's folder on the worker's machine. */
const BUILDS: Record<Exclude<Kind, 'binary'>, string> = {
  cpu: 'docker build -f Dockerfile.ffmpegd -t tvarr-ffmpegd .',
  nvidia: 'docker build -f Dockerfile.ffmpegd -t tvarr-ffmpegd .',
  vaapi:
    'docker build -f Dockerfile.ffmpegd -t tvarr-ffmpegd-vaapi \\\n  --build-arg EXTRA_PACKAGES="mesa-va-drivers intel-media-va-driver" .',
  jetson:
    'docker build -f Dockerfile.ffmpegd -t tvarr-ffmpegd-jetson \\\n  --build-arg BASE_IMAGE=my-l4t-with-ffmpeg --build-arg FFMPEG=none \\\n  --build-arg RUST_IMAGE=rust:1-bullseye \\\n  --build-arg ENCODERS="aac libx264 h264_nvmpi hevc_nvmpi" .',
};

const NOTES: Record<Kind, string> = {
  binary: 'Needs ffmpeg on the PATH and ffmpegd, nothing else. ffmpegd detect shows what the machine would offer.',
  cpu: 'It takes a quarter of its cores as slots; --cpus gives it fewer cores, TVARR_MAX_CPU_JOBS says how many jobs.',
  nvidia: 'Needs the NVIDIA driver and the NVIDIA Container Toolkit on the host. The capability “video” gives NVENC and NVDEC.',
  vaapi: 'Intel and AMD GPUs. The render node is given to the container, with its group. On arm64 leave intel-media-va-driver out.',
  jetson: 'Needs a base image with an ffmpeg that has Jetson’s encoders, on L4T: docs/jetson.md says how. Not tried on a board yet.',
};

export function commandFor(kind: Kind, host: string, port: number): string {
  const address = `${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${port}`;
  if (kind === 'binary') return `TVARR_COORDINATOR_URL=${address} \\\nTVARR_AUTH_TOKEN=TOKEN \\\nffmpegd`;
  const words = [
    'docker run -d --name ffmpegd --restart unless-stopped --stop-timeout 90',
    '--read-only --tmpfs /tmp -v ffmpegd:/var/lib/ffmpegd',
    ...DEVICES[kind],
    `-e TVARR_COORDINATOR_URL=${address}`,
    '-e TVARR_AUTH_TOKEN=TOKEN',
    IMAGES[kind],
  ];
  return words.join(' \\\n  ');
}

export function Connect({ onClose }: { onClose: () => void }) {
  const chosen = kind.value;
  const host = location.hostname;
  const port = workerPort.value?.port ?? USUAL_PORT;
  const local = host === 'localhost' || host.startsWith('127.') || host === '[::1]';
  return (
    <Panel title="Connect a worker" onClose={onClose}>
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
      <Command text={commandFor(chosen, host, port)} label="Command for the worker’s machine" />
      <p class="dim">{NOTES[chosen]}</p>
      {workerPort.value?.token === false && (
        <p class="reason is-draining">
          This coordinator has no token, so it takes workers of its own machine only: start it with <code>TVARR_GRPC_AUTH_TOKEN</code>.
        </p>
      )}
      {chosen !== 'binary' && (
        <>
          <h3>The image</h3>
          <Command text={BUILDS[chosen]} label="Command that makes the image" />
        </>
      )}
      <dl class="facts">
        <div>
          <dt>TOKEN</dt>
          <dd>
            what the coordinator was started with as <code>TVARR_GRPC_AUTH_TOKEN</code>. With compose it is made:{' '}
            <code>docker compose exec -T coordinator cat /token/token</code>
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
            <code>{port}</code> is the coordinator’s worker port; a container or proxy may have given it another one. It speaks plain HTTP:
            docs/remote-workers.md says what to put between where the network is not your own.
          </dd>
        </div>
      </dl>
    </Panel>
  );
}
