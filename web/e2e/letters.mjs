// Dead letters on the pages, against a farm whose two workers crash until it is mended.
//
//   node web/e2e/letters.mjs BASE ONE_CLIP ANOTHER
import { strict as assert } from 'node:assert';
import { basename } from 'node:path';
import { ask, choosePreset, lead, said, watch } from './browser.mjs';

const [base, one, another] = process.argv.slice(2);

await lead(async (browser) => {
  const page = watch(await browser.newPage({ viewport: { width: 1440, height: 900 } }));
  const row = (clip) => page.locator('table.jobs tbody tr', { hasText: basename(clip) });

  console.log('two jobs are given up');
  await page.goto(`${base}/ui/jobs`);
  await choosePreset(page, 'proxy');
  for (const clip of [one, another]) {
    await page.getByLabel('Files').setInputFiles(clip);
    await page.locator('article.job .state.is-dead').waitFor();
    assert.match((await page.locator('p.reason').textContent()) ?? '', /two workers/);
    await page.goBack();
  }
  await ask('mend');

  console.log('those that are shown are queued again');
  await page.locator('.chips').getByRole('link', { name: 'Dead letters' }).click();
  await row(another).waitFor();
  await page.getByLabel('Find by name of the input or id').fill(basename(one));
  await row(another).waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Redrive all' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Redrive' }).click();
  await said(page, '1 dead letter queued again');
  await page.locator('.chips').getByRole('link', { name: 'Succeeded' }).click();
  await row(one).waitFor();

  console.log('and one by itself');
  await page.goto(`${base}/ui/jobs?state=dead`);
  await row(another).getByRole('link').first().click();
  await page.getByRole('button', { name: 'Redrive' }).click();
  await page.locator('article.job .state.is-succeeded').waitFor();
});
