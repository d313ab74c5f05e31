// Compresses once what the coordinator would otherwise send as it is, and says what a first visit costs.
import { readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

const root = new URL('../dist/ui/', import.meta.url).pathname;
// Not compressed already.
const packed = /\.(html|js|css|svg|json|txt)$/;
const limit = 200 * 1024;

const files = readdirSync(root, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
const sizes = new Map();
for (const file of files.filter((file) => packed.test(file))) {
  const bytes = readFileSync(file);
  const small = gzipSync(bytes, { level: 9 });
  sizes.set(file.slice(root.length), small.length);
  rmSync(`${file}.gz`, { force: true });
  if (small.length < bytes.length) writeFileSync(`${file}.gz`, small);
}

// What the document names is fetched by a first visit; everything else when it is needed.
const document = readFileSync(join(root, 'index.html'), 'utf8');
const first = ['index.html', ...[...document.matchAll(/(?:src|href)="\/ui\/([^"]+)"/g)].map((match) => match[1])];
const total = first.reduce((sum, file) => sum + (sizes.get(file) ?? 0), 0);
console.log(`a first visit: ${(total / 1024).toFixed(1)} KiB compressed (${first.join(', ')})`);
if (total > limit) {
  console.error(`that is over ${limit / 1024} KiB`);
  process.exit(1);
}
