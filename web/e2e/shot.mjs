// Pictures of the pages as they are, to look at: node e2e/shot.mjs BASE FOLDER [PATH...]
import { chromium } from 'playwright-core';

const [base, folder, ...paths] = process.argv.slice(2);
if (!base || !folder) {
  console.error('usage: node e2e/shot.mjs http://127.0.0.1:8080 FOLDER [/ui/ /ui/jobs ...]');
  process.exit(2);
}
const looks = [
  { name: 'dark', colorScheme: 'dark', viewport: { width: 1440, height: 900 } },
  { name: 'light', colorScheme: 'light', viewport: { width: 1440, height: 900 } },
  { name: 'phone', colorScheme: 'dark', viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--no-proxy-server'] });
try {
  for (const { name, ...look } of looks) {
    const page = await browser.newPage(look);
    page.on('console', (message) => message.type() === 'error' && console.log(`${name}: ${message.text()}`));
    page.on('pageerror', (error) => console.log(`${name}: ${error.message}`));
    for (const path of paths.length ? paths : ['/ui/', '/ui/jobs', '/ui/streams']) {
      await page.goto(base + path);
      await page.waitForTimeout(2500);
      const file = `${folder}/${name}${path.replace(/[^a-z0-9]+/gi, '-').replace(/-$/, '')}.png`;
      await page.screenshot({ path: file });
      console.log(file);
    }
    await page.close();
  }
} finally {
  await browser.close();
}
