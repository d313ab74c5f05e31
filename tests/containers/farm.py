#!/usr/bin/env python3
"""What `docker-compose up --scale ffmpegd=5` gives, from outside: a job on each of five workers, then jobs that go on while
containers are killed, scaled away and back, and cut off. Every job has to be done in the end.

scripts/containers.sh starts it, with the images built and the engine in DOCKER_HOST:  farm.py PROJECT CLIP
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PROJECT, CLIP = sys.argv[1:3]
API = f"http://{os.environ['TVARR_HTTP_PUBLISH']}"
PROMETHEUS = f"http://{os.environ['PROMETHEUS_PUBLISH']}/api/v1"
COMPOSE = ["docker-compose", "-p", PROJECT]
passed = 0


def run(*command, check=True):
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if check and done.returncode:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def api(path):
    request = urllib.request.Request(API + path, headers={"authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def outputs(job):
    return [file["path"] for file in api(f"/v1/jobs/{job}")["outputs"]]


def until(what, seconds, look, tell=lambda: ""):
    """What `look` gives once it is true. What `tell` gives is printed if it never is."""
    end = time.monotonic() + seconds
    while True:
        try:
            if seen := look():
                return seen
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            pass
        if time.monotonic() > end:
            print(run(*COMPOSE, "logs", "--tail", "40", check=False))
            sys.exit(f"FAIL within {seconds} s: {what} {tell()}")
        time.sleep(0.25)


def ok(what):
    global passed
    passed += 1
    print(f"{time.monotonic() - STARTED:6.1f} s  ok  {what}", flush=True)


def containers(service="ffmpegd"):
    return run(*COMPOSE, "ps", "-q", service).split()


def inspect(container):
    return json.loads(run("docker", "inspect", container))[0]


def scale(count):
    run(*COMPOSE, "up", "-d", "--no-recreate", "--scale", f"ffmpegd={count}")


def online():
    """Names of the workers that can take work: the containers' short ids."""
    return {worker["name"] for worker in api("/v1/workers")["items"] if worker["state"] == "online"}


class Slow(BaseHTTPRequestHandler):
    """The clip, over as many seconds as the path says: jobs that take at least that long on a machine of any speed."""

    def do_GET(self):
        seconds = int(self.path.split("/")[1])
        with open(CLIP, "rb") as file:
            clip = file.read()
        self.send_response(200)
        self.send_header("content-length", str(len(clip)))
        self.end_headers()
        pieces = seconds * 5
        size = -(-len(clip) // pieces)
        try:
            for piece in range(pieces):
                self.wfile.write(clip[piece * size : (piece + 1) * size])
                time.sleep(1 / 5)
        except OSError:
            # ffprobe leaves once it has seen enough, and so does a worker that is killed.
            self.close_connection = True

    def log_message(self, *_):
        pass


def submit(count, seconds):
    """That many jobs that take so long; their ids."""
    jobs = []
    for _ in range(count):
        body = json.dumps({"input": {"url": f"{SOURCE}/{seconds}/clip.ts"}, "preset": "h264"})
        request = urllib.request.Request(
            API + "/v1/jobs",
            data=body.encode(),
            headers={"authorization": f"Bearer {KEY}", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            jobs.append(json.load(answer)["id"])
    return jobs


def attempts(job):
    return [attempt for task in api(f"/v1/jobs/{job}")["tasks"] for attempt in task["attempts"]]


def done(jobs):
    states = [api(f"/v1/jobs/{job}")["state"] for job in jobs]
    broken = [state for state in states if state in ("failed", "cancelled", "dead")]
    if broken:
        sys.exit(f"FAIL: jobs ended as {broken}")
    return all(state == "succeeded" for state in states)


STARTED = time.monotonic()
scale(5)
# The engine's end of the farm's network: no other machine reaches it.
GATEWAY = json.loads(run("docker", "network", "inspect", f"{PROJECT}_default"))[0]["IPAM"]["Config"][0]["Gateway"]
server = ThreadingHTTPServer((GATEWAY, 0), Slow)
threading.Thread(target=server.serve_forever, daemon=True).start()
SOURCE = f"http://{GATEWAY}:{server.server_port}"
KEY = run(*COMPOSE, "exec", "-T", "coordinator", "cat", "/admin/key")
until("five workers online", 60, lambda: len(online()) == 5)
ok("five workers are online")
until("all healthy", 30, lambda: all(inspect(c)["State"]["Health"]["Status"] == "healthy" for c in containers() + containers("coordinator")))
ok("the engine finds them and the coordinator healthy")

for container in containers() + containers("coordinator"):
    seen = inspect(container)
    assert seen["Config"]["User"] == "10001" and seen["HostConfig"]["ReadonlyRootfs"], seen["Name"]
    assert run("docker", "exec", container, "cat", "/proc/1/comm") == "tini"
    assert run("docker", "exec", container, "sh", "-c", "touch /usr/x 2>/dev/null || echo refused") == "refused"
    assert "CapEff:\t0000000000000000" in run("docker", "exec", container, "cat", "/proc/1/status")
ok("none is root, has a capability or can write to its root file system")
try:
    urllib.request.urlopen(API + "/v1/jobs", timeout=10)
    sys.exit("FAIL: the API answers without a key")
except urllib.error.HTTPError as refused:
    assert refused.code == 401
ok("the API asks for the key that was made")

jobs = submit(5, 6)
until("the jobs' end", 90, lambda: done(jobs))
workers = {attempts(job)[-1]["worker"]["id"] for job in jobs}
assert len(workers) == 5, workers
ok("five jobs are done, one on each")
(result,) = outputs(jobs[0])
with urllib.request.urlopen(urllib.request.Request(f"{API}/v1/jobs/{jobs[0]}/outputs/{result}", headers={"authorization": f"Bearer {KEY}"})) as answer:
    assert len(answer.read()) > 1000
ok("a result comes back through the published port")

jobs = submit(5, 15)
until("all running", 60, lambda: all(api(f"/v1/jobs/{job}")["state"] == "running" for job in jobs))
victim = containers()[0]
os.kill(inspect(victim)["State"]["Pid"], signal.SIGKILL)
until("the engine starts it again", 30, lambda: inspect(victim)["RestartCount"] == 1 and inspect(victim)["State"]["Running"])
ok("a container that was killed is started again")
cut = containers()[1]
network = f"{PROJECT}_default"
run("docker", "network", "disconnect", network, cut)
ok("another one is cut off from the network")
scale(3)
assert len(containers()) == 3
ok("two others were drained and removed")
scale(5)
until("each job's end", 240, lambda: done(jobs))
ok("all five jobs are done all the same")
moved = [job for job in jobs if len(attempts(job)) > 1]
assert moved, "no job was moved: nothing was broken"
ok(f"{len(moved)} of them by a second attempt")
if cut in containers():
    # By its service's name too, as docker-compose had connected it.
    run("docker", "network", "connect", "--alias", "ffmpegd", network, cut)
until("five workers again", 90, lambda: len(online()) == 5)
ok("five workers are online again")

if os.environ["TVARR_TEST_PAGES"] == "source":
    with urllib.request.urlopen(API + "/ui/", timeout=10) as answer:
        page = answer.read().decode()
    (script,) = re.findall(r'<script[^>]* src="([^"]+)"', page)
    with urllib.request.urlopen(urllib.parse.urljoin(API + "/ui/", script), timeout=10) as answer:
        assert "javascript" in answer.headers["content-type"] and len(answer.read()) > 10_000
    ok("the pages are in the image")


def prometheus(path):
    with urllib.request.urlopen(PROMETHEUS + path, timeout=10) as answer:
        return json.load(answer)["data"]


def targets():
    """Each with its job, whether it is up, and what was wrong with it last."""
    return sorted((target["labels"]["job"], target["health"], target["lastError"]) for target in prometheus("/targets?state=active")["activeTargets"])


def rules():
    return [rule for group in prometheus("/rules")["groups"] for rule in group["rules"]]


run(*COMPOSE, "--profile", "monitoring", "up", "-d", "--no-deps", "prometheus")
jobs = ["prometheus", "tvarr-coordinator"] + 5 * ["tvarr-workers"]
until("every target up", 90, lambda: targets() == [(job, "up", "") for job in jobs], targets)
ok("Prometheus scrapes the coordinator, with its token, and each of five workers")
until("every rule evaluated", 60, lambda: rules() and all(rule["health"] == "ok" for rule in rules()), rules)
ok(f"and evaluates {len(rules())} rules")

jobs = submit(1, 8)
busy = until("it runs", 60, lambda: attempts(jobs[0]) and attempts(jobs[0])[-1]["worker"]["id"])
name = next(worker["name"] for worker in api("/v1/workers")["items"] if worker["id"] == busy)
before = time.monotonic()
run("docker", "stop", "-t", "90", name)
took = time.monotonic() - before
state = inspect(name)["State"]
assert state["ExitCode"] == 0 and took > 1, (state, took)
until("its job", 30, lambda: done(jobs))
assert len(attempts(jobs[0])) == 1
ok(f"docker stop let a busy worker end its job: {took:.1f} s, exit code 0")
print(f"{passed} passed, 0 failed")
