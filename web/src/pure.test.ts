import { describe, expect, it } from 'vitest';
import compose from '../../docker-compose.yml?raw';
import jetson from '../../docs/jetson.md?raw';
import type { JobSummary, JobView, OutputFile, StreamView } from './api/types';
import { bitrate, bytes, count, decoded, duration, inputName, shell, speed } from './format';
import { sort } from './outputs';
import { commandFor, IMAGES } from './pages/connect';
import { fits, merge } from './state/jobs';
import { withStream } from './state/streams';
import { timeline } from './timeline';
import { visible } from './window';

describe('figures', () => {
  it('have three digits at most and no jump between units', () => {
    expect([0, 999, 1000, 1023.9 * 1024, 5 * 1024 ** 3].map(bytes)).toEqual(['0 B', '999 B', '1.0 KiB', '1.0 MiB', '5.0 GiB']);
    expect([0, 800_000, 999_600, 6_220_000].map(bitrate)).toEqual(['–', '800 kb/s', '1.0 Mb/s', '6.2 Mb/s']);
    expect([0, 0.4, 59.6, 125, 3600, 90_061].map(duration)).toEqual(['0 s', '0.4 s', '1 min', '2 min 5 s', '1 h', '1 d 1 h']);
    expect([0.5, 1, 9.96].map(speed)).toEqual(['0.50×', '1.0×', '10×']);
    expect(count(1234567)).toBe('1 234 567');
  });

  it('an input is called by its last part, as people read it', () => {
    expect(inputName('https://cdn.example/a/summer%20talk.mov?token=x')).toBe('summer talk.mov');
    expect(inputName('/media/100% done.mov')).toBe('100% done.mov');
    expect([inputName('http://x/%E0%A4%A.mov'), decoded('%')]).toEqual(['%E0%A4%A.mov', '%']);
  });

  it('a command survives the shell', () => {
    expect(shell(['ffmpeg', '-i', "it's.mp4", '-vf', 'scale=1:2'])).toBe("ffmpeg -i 'it'\\''s.mp4' -vf scale=1:2");
  });
});

describe('a long list', () => {
  it('draws the rows near the view and no others', () => {
    expect(visible(5, 52, 0, 900)).toEqual({ first: 0, last: 5 });
    const { first, last } = visible(2000, 52, 52_000, 900);
    expect(first).toBeLessThan(1000);
    expect(last).toBeGreaterThan(1017);
    expect(last - first).toBeLessThan(60);
    expect(visible(10, 52, 99_999, 900)).toEqual({ first: 10, last: 10 });
  });
});

const job = (id: string, more: Partial<JobSummary> = {}): JobSummary => ({
  id,
  state: 'running',
  preset: 'h264',
  input: 'Holiday.mov',
  priority: 0,
  submitted_at: '2026-01-01T00:00:00Z',
  ...more,
});

describe('a list of jobs', () => {
  it('takes what fits its filter', () => {
    expect(fits(job('0193a'), { text: 'holi', state: 'queued,running' })).toBe(true);
    expect(fits(job('0193a'), { text: '0193' })).toBe(true);
    expect(fits(job('0193a'), { state: 'failed' })).toBe(false);
    expect(fits(job('0193a'), { worker: 'attic' })).toBe(false);
  });

  it('stays newest first and has each job once', () => {
    const ids = (jobs: JobSummary[]) => jobs.map((each) => each.id);
    const list = [job('c'), job('a')];
    expect(ids(merge(list, job('d')))).toEqual(['d', 'c', 'a']);
    expect(ids(merge(list, job('b')))).toEqual(['c', 'b', 'a']);
    expect(merge(list, job('a', { state: 'failed' }))[1]?.state).toBe('failed');
    // Where it belongs was not read yet.
    expect(ids(merge(list, job('0')))).toEqual(['c', 'a']);
  });
});

describe('streams', () => {
  it('are put in their place, and new ones behind', () => {
    const stream = (id: string, name = id) => ({ id, name }) as StreamView;
    const known = [stream('a'), stream('b')];
    expect(withStream(known, stream('a', 'renamed')).map(({ name }) => name)).toEqual(['renamed', 'b']);
    expect(withStream(known, stream('c')).map(({ id }) => id)).toEqual(['a', 'b', 'c']);
  });
});

describe('the commands that connect a worker', () => {
  it('name the images that are made here', () => {
    for (const image of [IMAGES.cpu, IMAGES.nvidia, IMAGES.vaapi]) expect(compose).toContain(`:-${image}}`);
    expect(jetson).toContain(` -t ${IMAGES.jetson} `);
  });
  it('dial the address that the page came from, at the port for workers', () => {
    expect(commandFor('binary', '2001:db8::1', 7)).toContain('TVARR_COORDINATOR_URL=[2001:db8::1]:7 ');
    const gpu = commandFor('nvidia', 'farm.example', 9090);
    expect(gpu).toContain('--gpus all');
    expect(gpu.endsWith(IMAGES.nvidia)).toBe(true);
  });
});

describe('outputs', () => {
  const file = (path: string): OutputFile => ({ path, size: 1, content_type: path.endsWith('.jpg') ? 'image/jpeg' : 'video/mp4' });
  it('a ladder is played by its master, and its segments are no files of their own', () => {
    const sorted = sort(['720p/index.m3u8', '720p/seg_00001.ts', 'master.m3u8', '720p/init.mp4', '720p/seg_1.m4s'].map(file));
    expect(sorted.playable.map((each) => each.path)).toEqual(['master.m3u8']);
    expect(sorted.segments).toHaveLength(3);
  });
  it('a file is a file, whatever its name', () => {
    const sorted = sort(['my_holiday.mp4', 'thumb-1.jpg'].map(file));
    expect(sorted.playable.map((each) => each.path)).toEqual(['my_holiday.mp4']);
    expect(sorted.pictures).toHaveLength(1);
    expect(sorted.segments).toHaveLength(0);
  });
});

describe('a timeline', () => {
  it('says which worker had it, why it moved, and how it ended', () => {
    const attempt = { encoder: 'libx264', command: [], assigned_at: '2026-01-01T00:00:01Z', started_at: '2026-01-01T00:00:02Z' };
    const view = {
      ...job('a', { state: 'succeeded', finished_at: '2026-01-01T00:01:00Z' }),
      tasks: [
        {
          attempts: [
            { ...attempt, epoch: 1, state: 'failed', worker: { id: '1', name: 'one' }, finished_at: '2026-01-01T00:00:09Z', failure: { kind: 'worker_lost', message: 'silent for 30 s' } },
            { ...attempt, epoch: 2, state: 'succeeded', worker: { id: '2', name: 'two' }, assigned_at: '2026-01-01T00:00:10Z', finished_at: '2026-01-01T00:01:00Z' },
          ],
        },
      ],
    } as unknown as JobView;
    const told = timeline(view);
    expect(told.map((moment) => moment.worker?.name ?? moment.title)).toEqual(['Queued', 'one', 'Attempt failed', 'two', 'Succeeded']);
    expect(told[2]?.text).toBe('the worker was lost: silent for 30 s');
  });
});
