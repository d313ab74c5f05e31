// What a person does to jobs and workers on the pages, against a worker with one slot, and another one that comes and dies.
//
//   node web/e2e/actions.mjs BASE SHORT_CLIP LONG_CLIP
import { strict as assert } from 'node:assert';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { ask, choosePreset, lead, said, watch, workerRow } from './browser.mjs';

const [base, short, long] = process.argv.slice(2);

await lead(async (browser) => {
  const page = watch(await browser.newPage({ viewport: { width: 1440, height: 900 } }), /net::ERR_CONNECTION_RESET/);
  const press = (name) => page.getByRole('button', { name, exact: true }).click();
  const job = (state) => page.locator(`article.job .state.is-${state}`).first().waitFor();
  const jobs = async (preset) => {
    await page.goto(`${base}/ui/jobs`);
    await choosePreset(page, preset);
  };

  console.log('a file is dropped, its upload breaks and goes on');
  await jobs('proxy');
  const asked = [];
  await page.route('**/v1/uploads/**', async (route) => {
    const method = route.request().method();
    asked.push(method);
    if (method === 'PATCH' && asked.filter((each) => each === 'PATCH').length === 1) await route.abort('connectionreset');
    else await route.continue();
  });
  await page.evaluate(
    ({ name, bytes }) => {
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([Uint8Array.from(bytes)], name, { type: 'video/mp4' }));
      document.dispatchEvent(new DragEvent('drop', { bubbles: true, cancelable: true, dataTransfer }));
    },
    { name: basename(short), bytes: [...(await readFile(short))] },
  );
  await job('succeeded');
  assert.deepEqual(asked.slice(0, 3), ['PATCH', 'HEAD', 'PATCH'], 'it asks how far it came, and goes on there');
  await page.unroute('**/v1/uploads/**');

  console.log('a job that waits is preferred, cancelled and tried again');
  await jobs('h264');
  await page.getByLabel('Files').setInputFiles(long);
  await job('running');
  await jobs('proxy');
  await page.getByLabel('Files').setInputFiles(short);
  await job('queued');
  await press('Raise priority');
  await said(page, 'It goes before what has a lower priority');
  await page.getByTitle('It is 10 of -100 to 100').waitFor();
  await press('Cancel');
  await press('Cancel the job');
  await job('cancelled');
  await press('Retry');
  await job('queued');

  console.log('a worker looks at its machine again');
  await page.goto(`${base}/ui/`);
  const row = (name) => workerRow(page, name);
  await page.getByRole('link', { name: 'works', exact: true }).click();
  await press('Probe again');
  await said(page, 'looks at its machine again');

  console.log('a worker is emptied at once');
  await ask('start other');
  await row('other').locator('.state.is-online').waitFor();
  await press('Drain at once');
  await page.getByRole('dialog').getByText('The job that runs there goes to other workers').waitFor();
  await page.getByRole('dialog').getByRole('button', { name: 'Drain at once' }).click();
  await page.locator('.panel').getByText('Nothing at the moment').waitFor();
  await row('works').locator('.state.is-draining').waitFor();
  await page.goto(`${base}/ui/jobs?preset=h264&worker=other`);
  await page.locator('table.jobs').getByRole('link', { name: basename(long) }).click();
  await job('running');
  await press('Cancel');
  await press('Cancel the job');
  await job('cancelled');
  await page.goto(`${base}/ui/`);
  await page.getByRole('link', { name: 'works', exact: true }).click();
  await press('Resume');
  await row('works').locator('.state.is-online').waitFor();

  console.log('a lost worker is forgotten');
  await ask('kill other');
  await row('other').locator('.state.is-lost').waitFor();
  await page.getByRole('link', { name: 'other', exact: true }).click();
  await press('Forget');
  await press('Forget it');
  await row('other').waitFor({ state: 'detached' });
});
