// A list of jobs that stays open while a great many come.
//
//   node web/e2e/list.mjs BASE JOBS
import { strict as assert } from 'node:assert';
import { ask, lead, watch } from './browser.mjs';

const [base, jobs] = process.argv.slice(2);
const ALL = Number(jobs);

await lead(async (browser) => {
  const page = watch(await browser.newPage({ viewport: { width: 1440, height: 900 } }));
  const table = page.locator('table.jobs');
  // Its head is a row.
  const rows = async () => Number(await table.getAttribute('aria-rowcount')) - 1;

  console.log('a great many come');
  await page.goto(`${base}/ui/jobs`);
  await page.getByText('No job yet').waitFor();
  await ask('submit');
  await page.getByText('There are more').waitFor();
  const kept = await rows();
  assert(kept < ALL, `it kept all ${kept} jobs that it was told of`);

  console.log('older ones come as one scrolls');
  while ((await rows()) < ALL) {
    const before = await rows();
    await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
    await page.waitForFunction((before) => document.querySelector('table.jobs').getAttribute('aria-rowcount') - 1 > before, before);
  }
  assert.equal(await rows(), ALL);
  await page.getByText('There are more').waitFor({ state: 'detached' });
});
