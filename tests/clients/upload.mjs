// Sends a file with tus-js-client: `node upload.mjs FOLDER ENDPOINT FILE CHUNK PARALLEL DEFERRED`, where FOLDER holds
// node_modules. Writes the upload's URL. With CHUNK = 0 the file goes in one piece. The client is stopped after its first
// chunk, and another goes on.
import { createReadStream, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename } from 'node:path'
import { PassThrough } from 'node:stream'

const [folder, endpoint, file, chunk, parallel, deferred] = process.argv.slice(2)
const tus = createRequire(`${folder}/`)('tus-js-client')
const chunkSize = Number(chunk) || Infinity

function send(url, stopAfterFirst) {
  return new Promise((resolve, reject) => {
    // Of a file the client looks the length up; of a stream it cannot.
    const input = deferred === 'true' ? createReadStream(file).pipe(new PassThrough()) : createReadStream(file)
    const upload = new tus.Upload(input, {
      endpoint,
      uploadUrl: url,
      chunkSize: Number.isFinite(chunkSize) ? chunkSize : statSync(file).size,
      parallelUploads: Number(parallel),
      uploadLengthDeferred: deferred === 'true',
      metadata: { filename: basename(file) },
      retryDelays: [0, 200, 1000, 3000],
      onError: reject,
      onSuccess: () => resolve({ url: upload.url, done: true }),
      onChunkComplete: () => {
        if (stopAfterFirst) upload.abort().then(() => resolve({ url: upload.url, done: false }), reject)
      },
    })
    upload.start()
  })
}

const resumes = Number.isFinite(chunkSize) && Number(parallel) === 1 && deferred !== 'true'
let sent = await send(null, resumes)
if (!sent.done) sent = await send(sent.url, false)
console.log(sent.url)
