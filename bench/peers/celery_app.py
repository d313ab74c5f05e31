"""The Celery side: one task that starts a command, one that does nothing.

Settings are Celery's defaults but for what is named here: no result is kept (nothing is asked for it), and one child
process per worker (-c 1, given on the command line).
"""

import os
import subprocess

from celery import Celery
from celery.signals import worker_ready

app = Celery("bench", broker=os.environ["BENCH_REDIS_URL"])
app.conf.update(task_ignore_result=True)

# One byte is appended per finished empty task: how the benchmark counts them without asking Celery.
_count = os.open(os.environ["BENCH_COUNT_FILE"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


@worker_ready.connect
def _say_ready(**_):
    os.write(1, b"ready\n")


@app.task
def start(argv):
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


@app.task
def empty():
    os.write(_count, b".")
