"""Submits to Celery on request: one JSON object per line in, one out. Times are CLOCK_MONOTONIC in nanoseconds.

{"op": "start", "argv": [...]} -> {"before_ns": t, "after_ns": t}   around one .delay()
{"op": "empty", "count": n}    -> {"before_ns": t, "after_ns": t, "latencies_ns": [...]}   around n of them
"""

import json
import sys
from time import monotonic_ns

from celery_app import app, empty, start


def submit_one(argv):
    before = monotonic_ns()
    start.delay(argv)
    return {"before_ns": before, "after_ns": monotonic_ns()}


def submit_many(count):
    latencies = []
    first = before = monotonic_ns()
    for _ in range(count):
        empty.delay()
        after = monotonic_ns()
        latencies.append(after - before)
        before = after
    return {"before_ns": first, "after_ns": before, "latencies_ns": latencies}


with app.connection_for_write() as connection:
    connection.ensure_connection(max_retries=3)
print("ready", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    answer = submit_one(request["argv"]) if request["op"] == "start" else submit_many(request["count"])
    print(json.dumps(answer), flush=True)
