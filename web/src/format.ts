// Figures and times as people read them.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** `1.4 GiB`. */
export function bytes(count: number): string {
  let value = Math.max(0, count);
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** Bits per second: `4.2 Mb/s`. */
export function bitrate(bits: number): string {
  if (bits <= 0) return '–';
  if (bits < 999_500) return `${Math.round(bits / 1000)} kb/s`;
  return `${(bits / 1e6).toFixed(bits < 99.5e6 ? 1 : 0)} Mb/s`;
}

/** Two units at most: `3 d 4 h`, `2 min 5 s`, `0.4 s`. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '–';
  const whole = Math.max(0, Math.round(seconds));
  if (seconds < 9.95 && seconds > 0 && Math.abs(seconds - whole) > 0.05) return `${seconds.toFixed(1)} s`;
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return pair(Math.floor(whole / 60), 'min', whole % 60, 's');
  if (whole < 86_400) return pair(Math.floor(whole / 3600), 'h', Math.floor((whole % 3600) / 60), 'min');
  return pair(Math.floor(whole / 86_400), 'd', Math.floor((whole % 86_400) / 3600), 'h');
}

function pair(most: number, unit: string, rest: number, smaller: string): string {
  return rest === 0 ? `${most} ${unit}` : `${most} ${unit} ${rest} ${smaller}`;
}

/** One unit, for narrow columns: `4 h`. */
export function brief(seconds: number): string {
  return duration(seconds).split(' ').slice(0, 2).join(' ');
}

/** `percent(0.42)` is `42 %`. */
export function percent(fraction: number): string {
  return `${Math.round(Math.min(1, Math.max(0, fraction)) * 100)} %`;
}

/** Thousands apart, so that they are read at a glance. */
export function count(number: number): string {
  return String(Math.round(number)).replace(/\B(?=(\d{3})+$)/g, ' ');
}

/** `1 run`, `3 runs`. */
export function counted(number: number, thing: string): string {
  return `${count(number)} ${thing}${number === 1 ? '' : 's'}`;
}

export function fps(value: number): string {
  return value >= 99.5 ? String(Math.round(value)) : value.toFixed(1);
}

export function speed(value: number): string {
  return `${value >= 9.95 ? Math.round(value) : value.toFixed(value < 0.995 ? 2 : 1)}×`;
}

/** `14:03:09`, with the day before it unless it is today. */
export function clock(at: string | number, now: number): string {
  const time = new Date(at);
  const hour = time.toLocaleTimeString(undefined, { hour12: false });
  if (time.toDateString() === new Date(now).toDateString()) return hour;
  return `${time.toLocaleDateString(undefined, { day: 'numeric', month: 'short' })} ${hour}`;
}

/** Seconds from one moment to another. */
export function between(from: string | number, to: string | number): number {
  return (new Date(to).getTime() - new Date(from).getTime()) / 1000;
}

/** A command as a shell takes it, to copy. */
export function shell(words: string[]): string {
  return words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`)).join(' ');
}

/** A part of a URL as people read it; as it is where its `%` are no encoding. */
export function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** What people call an input: of a path or URL its last part. */
export function inputName(input: string): string {
  const isUrl = input.includes('://');
  const path = isUrl ? input.split(/[?#]/)[0]! : input;
  const last = path.split('/').filter(Boolean).pop() ?? input;
  return isUrl ? decoded(last) : last;
}

/** The last part of an id, which tells two of the same minute apart. */
export function short(id: string): string {
  return id.length > 12 ? id.slice(-8) : id;
}
