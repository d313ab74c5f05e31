// What a page tells of a machine, and what it gives of a job, against a worker whose NVIDIA GPU has no encoder that works.
//
//   node web/e2e/machine.mjs BASE SHORT_CLIP LONG_CLIP
import { strict as assert } from 'node:assert';
import { readFile } from 'node:fs/promises';
import { choosePreset, lead, watch, workerRow } from './browser.mjs';

const [base, short, long] = process.argv.slice(2);

await lead(async (browser) => {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, permissions: ['clipboard-read', 'clipboard-write'] });
  const page = watch(await context.newPage());

  const submit = async (preset, clip) => {
    await page.goto(`${base}/ui/jobs`);
    await choosePreset(page, preset);
    await page.getByLabel('Files').setInputFiles(clip);
  };

  console.log('pictures and a file are what a job gives');
  await submit('thumbnails', short);
  await page.locator('article.job .state.is-succeeded').waitFor();
  const poster = page.getByRole('img', { name: 'poster.jpg' });
  await poster.scrollIntoViewIfNeeded();
  await page.waitForFunction((image) => image.complete && image.naturalWidth > 0, await poster.elementHandle());
  const shown = await (await page.request.get(new URL(await poster.getAttribute('src'), base).href)).body();
  const downloading = page.waitForEvent('download');
  await page.getByRole('link', { name: 'Download poster.jpg' }).click();
  const download = await downloading;
  assert.equal(download.suggestedFilename(), 'poster.jpg');
  assert.deepEqual(await readFile(await download.path()), shown);

  console.log('a GPU has its figures');
  await submit('h264', long);
  await page.locator('article.job .state.is-running').waitFor();
  await page.goto(`${base}/ui/`);
  await workerRow(page, 'box').getByText('42 %').waitFor();
  await page.getByRole('link', { name: 'box', exact: true }).click();
  const gpu = page.getByRole('region', { name: 'GPU 0' });
  await gpu.getByRole('heading', { name: /NVIDIA H200 · driver 550\.54\.14/ }).waitFor();
  for (const [name, value] of Object.entries({ Utilisation: '81 %', Encoder: '42 %', Decoder: '23 %', Memory: '5.0 GiB of 10.0 GiB' })) {
    assert.equal(await gpu.getByRole('meter', { name, exact: true }).getAttribute('aria-valuetext'), value, name);
  }
  assert.match(await gpu.textContent(), /Sessions\s*3/);
  const hot = gpu.getByText('91 °C');
  await hot.waitFor();

  console.log('what was turned down is red, and says why');
  const down = page.locator('tr', { has: page.getByRole('rowheader', { name: /^h264_nvenc/ }) }).first();
  assert.match(await down.textContent(), /libcuda/);
  const colour = (locator) => locator.evaluate((element) => getComputedStyle(element).color.match(/\d+/g).map(Number));
  for (const locator of [hot, down.getByRole('rowheader')]) {
    const [red, green, blue] = await colour(locator);
    assert(red > 1.3 * green && red > 1.3 * blue, `${red}, ${green}, ${blue} is not red`);
  }

  console.log('the command of what runs is copied');
  const attempt = page.locator('.panel .attempt').first();
  await attempt.getByRole('button', { name: 'ffmpeg command' }).click();
  await attempt.getByText('libx264').last().waitFor();
  const command = (await attempt.locator('.command pre').textContent()).trim();
  await attempt.getByRole('button', { name: 'Copy' }).click();
  await attempt.getByRole('button', { name: 'Copied' }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), command);

  console.log('the last hour is drawn');
  for (const name of ['CPU', 'Frames a second', 'Jobs']) {
    const plot = page.getByRole('img', { name: new RegExp(`^${name} over time`) });
    // Its line, and not its axes alone.
    await page.waitForFunction((box) => {
      const canvas = box.querySelector('canvas');
      const context = canvas?.getContext('2d');
      if (!context) return false;
      const probe = new OffscreenCanvas(1, 1).getContext('2d');
      probe.fillStyle = getComputedStyle(box).getPropertyValue('--accent').trim();
      probe.fillRect(0, 0, 1, 1);
      const [red, green, blue] = probe.getImageData(0, 0, 1, 1).data;
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      let drawn = 0;
      for (let at = 0; at < data.length; at += 4) {
        if (data[at + 3] > 200 && Math.abs(data[at] - red) + Math.abs(data[at + 1] - green) + Math.abs(data[at + 2] - blue) < 24) drawn += 1;
      }
      return drawn > canvas.width / 2;
    }, await plot.elementHandle());
  }

  console.log('nothing runs any more');
  await attempt.getByRole('link').click();
  await page.getByRole('button', { name: 'Cancel', exact: true }).click();
  await page.getByRole('button', { name: 'Cancel the job' }).click();
  await page.locator('article.job .state.is-cancelled').waitFor();
});
