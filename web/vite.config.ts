import { defineConfig } from 'vite';

// `npm run dev` passes on to a coordinator what is not a page; TVARR_API_URL says where it is.
const coordinator = process.env.TVARR_API_URL ?? 'http://127.0.0.1:8080';

export default defineConfig({
  base: '/ui/',
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
    proxy: Object.fromEntries(['/v1', '/live', '/signed', '/docs', '/openapi.json'].map((path) => [path, coordinator])),
  },
});
