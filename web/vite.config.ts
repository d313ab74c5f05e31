import { defineConfig } from 'vite';

// `npm run dev` passes on to a coordinator what is not a page; TVARR_API_URL says where it is.
const coordinator = process.env.TVARR_API_URL ?? 'http://127.0.0.1:8080';

export default defineConfig({
  base: '/ui/',
  cacheDir: 'node_modules/.vite',
  esbuild: { jsx: 'automatic', jsxImportSource: 'preact' },
  build: {
    outDir: 'dist/ui',
    emptyOutDir: true,
    target: 'es2020',
    // Nothing inline: the policy forbids it.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 600,
  },
  server: {
    // Tests read what the pages have to agree with.
    fs: { allow: ['..'] },
    // As the browser sent it: what changes something has to come from the address that it goes to.
    proxy: Object.fromEntries(['/v1', '/live', '/signed', '/docs', '/openapi.json'].map((path) => [path, { target: coordinator, changeOrigin: false }])),
  },
});
