// What of a job's files is what.

import type { OutputFile } from './api/types';

export interface Sorted {
  /** To play in the page, the most important first. */
  playable: OutputFile[];
  pictures: OutputFile[];
  /** What a person would download: no segments, which only a playlist makes sense of. */
  files: OutputFile[];
  segments: OutputFile[];
}

const SEGMENT = /(?:^|\/)[^/]*(?:seg|init|chunk|part|-stream|_)[^/]*\.(?:ts|m4s|mp4|m4a|aac|webm)$|\.(?:m4s)$/i;

export function isPlaylist(file: OutputFile): boolean {
  return file.path.endsWith('.m3u8');
}

export function sort(outputs: OutputFile[]): Sorted {
  const playlists = outputs.some((file) => isPlaylist(file) || file.path.endsWith('.mpd'));
  const segments = outputs.filter((file) => playlists && SEGMENT.test(file.path));
  const files = outputs.filter((file) => !segments.includes(file));
  // A master names the others.
  const rank = (file: OutputFile) => (/(?:^|\/)(?:master|main)\.m3u8$/.test(file.path) ? 0 : isPlaylist(file) ? 1 : 2);
  const media = (file: OutputFile) => isPlaylist(file) || /\.(?:mp4|webm|mov|m4v|mp3|m4a|ogg|opus|wav|flac)$/i.test(file.path);
  const playable = files.filter(media).sort((a, b) => rank(a) - rank(b) || a.path.length - b.path.length);
  const master = playable.some((file) => rank(file) === 0);
  return {
    playable: master ? playable.filter((file) => rank(file) !== 1) : playable,
    pictures: files.filter((file) => file.content_type.startsWith('image/')),
    files,
    segments,
  };
}

export function outputUrl(job: string, path: string, download = false): string {
  const parts = path.split('/').map(encodeURIComponent).join('/');
  return `/v1/jobs/${job}/outputs/${parts}${download ? '?download=1' : ''}`;
}
