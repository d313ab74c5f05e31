// The API's JSON, as common/src/api.rs, common/src/worker.rs and common/src/stream.rs have it: what the pages use of it.
// Times are RFC 3339 in UTC, sizes bytes.

export type JobState = 'queued' | 'running' | 'succeeded' | 'failed' | 'cancelled' | 'dead';
export type AttemptState = 'running' | 'disconnected' | 'succeeded' | 'failed' | 'cancelled' | 'superseded';
export type WorkerState = 'online' | 'draining' | 'quarantined' | 'lost';
export type Scope = 'submit' | 'read' | 'admin' | 'view';

export interface Page<T> {
  items: T[];
  next_cursor?: string | null;
}

export interface Failure {
  kind: string;
  message: string;
}

export interface WorkerRef {
  id: string;
  name: string;
}

export interface Progress {
  /** 0 to 1. */
  fraction?: number | null;
  frames: number;
  fps: number;
  /** Media seconds per second. */
  speed: number;
  bitrate: number;
  out_time_us: number;
  phase: string;
}

export interface ProgressView extends Progress {
  /** 0 to 100. */
  percent?: number | null;
  eta_seconds?: number | null;
}

export interface JobSummary {
  id: string;
  state: JobState;
  preset: string;
  input: string;
  owner?: string | null;
  priority: number;
  submitted_at: string;
  started_at?: string | null;
  finished_at?: string | null;
  waiting_for?: string | null;
  failure?: Failure | null;
  worker?: WorkerRef | null;
  progress?: ProgressView | null;
}

export interface AttemptView {
  epoch: number;
  state: AttemptState;
  worker: WorkerRef;
  encoder?: string | null;
  device?: string | null;
  assigned_at: string;
  started_at?: string | null;
  finished_at?: string | null;
  command: string[];
  failure?: Failure | null;
}

export interface TaskView {
  id: string;
  kind: string;
  state: string;
  epoch: number;
  queued_at: string;
  finished_at?: string | null;
  attempts: AttemptView[];
}

export interface OutputFile {
  path: string;
  size: number;
  content_type: string;
  sha256?: string;
}

export interface StreamInfo {
  index: number;
  codec: string;
  [more: string]: unknown;
}

export interface MediaInfo {
  format: string;
  duration?: number | null;
  size?: number | null;
  bit_rate?: number | null;
  streams: StreamInfo[];
}

export interface JobView extends JobSummary {
  hardware: string;
  labels: Record<string, string>;
  spec: unknown;
  input_info?: MediaInfo | null;
  tasks: TaskView[];
  outputs: OutputFile[];
  output?: string | null;
  output_url?: string | null;
  warnings: string[];
}

export interface AttemptLog {
  task: string;
  epoch: number;
  worker: string;
  lines: string[];
}

export interface Capacity {
  max_jobs: number;
  max_gpu_jobs: number;
  max_cpu_jobs: number;
}

export interface Gpu {
  index: number;
  vendor: string;
  name: string;
  uuid: string;
  driver: string;
  memory_total_bytes: number;
}

/** A GPU and how busy it is. */
export interface GpuView {
  index: number;
  name: string;
  utilisation?: number | null;
  encoder_utilisation?: number | null;
  decoder_utilisation?: number | null;
  memory_used_bytes?: number | null;
  memory_total_bytes: number;
  temperature_celsius?: number | null;
  sessions?: number | null;
  sessions_possible?: number | null;
}

export interface Encoder {
  name: string;
  codec: string;
  family: string;
  devices: { gpu: number; path: string; bit_depths: number[] }[];
}

export interface RejectedEncoder {
  name: string;
  device: string;
  bit_depth: number;
  reason: string;
}

export interface Capabilities {
  ffmpeg_version: string;
  ffprobe_version: string;
  encoders: Encoder[];
  rejected: RejectedEncoder[];
  hwaccels: string[];
  gpus: Gpu[];
  machine: {
    os: string;
    arch: string;
    cpu: string;
    cores: number;
    memory_total_bytes: number;
    scratch_free_bytes: number;
    scratch_total_bytes?: number;
    hostname: string;
  };
  problems?: string[];
}

export interface Load {
  /** 0 to 1 over all cores. */
  cpu: number;
  memory_used_bytes: number;
  scratch_free_bytes: number;
  scratch_available_bytes?: number | null;
}

export interface RunningTask {
  job: string;
  task: string;
  epoch: number;
  preset: string;
  input: string;
  command: string[];
  encoder?: string | null;
  progress?: ProgressView | null;
}

export interface RunningLive {
  stream: string;
  name?: string;
  task: string;
  epoch: number;
  profile: string;
  encoder?: string | null;
  device?: string | null;
  command: string[];
  placed_at: string;
  progress?: Progress | null;
}

/** What a row of the list and the whole of a worker both have. */
interface WorkerFacts {
  id: string;
  name: string;
  state: WorkerState;
  reason?: string | null;
  version: string;
  address: string;
  labels: Record<string, string>;
  capacity: Capacity;
  jobs: number;
  gpu_jobs: number;
  cpu_jobs: number;
  live_jobs: number;
  load: Load;
  gpus: GpuView[];
  connected_at: string;
  completed: number;
  failed: number;
}

export interface WorkerRow extends WorkerFacts {
  memory_total_bytes: number;
  /** The first of what it runs. */
  work?: { job: string; preset: string; input: string; percent?: number | null; speed?: number | null } | null;
}

export interface WorkerView extends WorkerFacts {
  capabilities: Capabilities;
  quarantines: { gpu?: number | null; reason: string }[];
  running: RunningTask[];
  live: RunningLive[];
}

interface Slots {
  used: number;
  total: number;
}

/** The fleet's totals. */
export interface FleetSummary {
  workers: Record<WorkerState, number>;
  cpu_jobs: Slots;
  gpu_jobs: Slots;
  live: number;
  batch: number;
  /** Jobs that wait. */
  waiting: number;
  /** Frames a second of all that runs. */
  fps: number;
}

export interface SessionView {
  keys: boolean;
  who?: Who | null;
  reason?: string | null;
  expires_at?: string | null;
}

export interface Who {
  key?: string | null;
  name?: string | null;
  owner?: string | null;
  scopes: Scope[];
}

export interface PresetView {
  name: string;
  description: string;
}

export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  field?: string | null;
  remedy?: string | null;
}

export type SourceSpec = 'push' | { pull: string } | { ingest: string } | { file: string };

export interface StreamView {
  id: string;
  name: string;
  source: SourceSpec;
  profiles: string[];
  options: { owner?: string | null; redundancy: number };
  configured: boolean;
  /** Milliseconds since the Unix epoch, as every time of a stream. */
  created_at: number;
  source_state: {
    state: 'idle' | 'connecting' | 'live' | 'lost';
    problem?: string | null;
    tracks: string[];
    bitrate: number;
    bytes_held: number;
    buffered_ms: number;
    generations: number;
    gaps: number;
    worker?: WorkerRef | null;
  };
  variants: VariantView[];
}

export interface VariantView {
  profile: string;
  state: 'starting' | 'live' | 'held' | 'lingering';
  problem?: string | null;
  viewers: number;
  dropped_viewers: number;
  bytes_sent: number;
  bytes_held: number;
  bitrate: number;
  missing_frames: number;
  attempts: { attempt: string; worker: WorkerRef; encoder?: string | null; role: string; since: number }[];
  failovers: { at: number; from: WorkerRef; to?: WorkerRef | null; reason: string; stall_ms?: number | null }[];
}

export interface Profile {
  name: string;
  description?: string;
}

export type FarmEvent =
  | { event: 'job'; job: JobSummary }
  | { event: 'progress'; job: string; progress: ProgressView }
  | { event: 'worker'; id: string; name: string; state: WorkerState }
  | { event: 'load'; workers: WorkerRow[]; gone: string[] }
  | { event: 'detail'; worker: WorkerView }
  | { event: 'stream'; stream: StreamView }
  | { event: 'stream_gone'; id: string }
  | ({ event: 'summary' } & FleetSummary)
  | { event: 'lagged'; missed: number };

/** The answer to `POST /v1/jobs/redrive`. */
export interface Redriven {
  jobs: string[];
  refused: { job: string; reason: string }[];
  next_cursor?: string | null;
}

/** `GET /v1/summary`. */
export interface Summary extends FleetSummary {
  /** Where workers connect to, and whether those of other machines are taken. */
  worker_port?: { port: number; token: boolean } | null;
}

/** Step by step; `null`: nothing was heard. */
export interface Series {
  from: string;
  step_seconds: number;
  cpu: (number | null)[];
  fps: (number | null)[];
  jobs: (number | null)[];
}

export interface WorkerHistory {
  minutes: Series;
  hour: Series;
}
