"""Sends a file with tuspy: `python3 upload.py ENDPOINT FILE CHUNK`. Writes the upload's URL.

Each chunk goes with its SHA-1. The client is dropped after its first chunk, and another one goes on at the offset that it
is told.
"""

import os
import sys

from tusclient import client

endpoint, file, chunk = sys.argv[1], sys.argv[2], int(sys.argv[3])
tus = client.TusClient(endpoint)
metadata = {"filename": os.path.basename(file)}
first = tus.uploader(file, chunk_size=chunk, metadata=metadata, upload_checksum=True, retries=3, retry_delay=1)
first.upload_chunk()
assert first.offset == min(chunk, os.path.getsize(file)), first.offset

rest = tus.uploader(file, url=first.url, chunk_size=chunk, upload_checksum=True, retries=3, retry_delay=1)
assert rest.offset == first.offset, (rest.offset, first.offset)
rest.upload()
print(rest.url)
