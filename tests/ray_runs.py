"""Runs on a local Ray, each started from the command line as a user starts it, and what they leave behind."""

import subprocess
import sys
import time
from pathlib import Path

SMALL = (
    "model.path=micro-small",
    "task.train=64",
    "task.validation=4",
    "task.test=4",
    "policies.rank=4",
    "policies.learning_rate=1e-3",
    "rollout.tasks_per_step=2",
    "rollout.group_size=4",
    "rollout.max_tokens=24",
    "evaluation.every=100",
    "run.steps=8",
    "run.save_every=1",
    "run.threads=1",
)
RAY = ("runtime.name=ray", "runtime.learners=2", "runtime.timeout=120")
LONG = 240.0
"""Seconds that a run may take; it takes a tenth of that on an idle machine."""


def command(*words):
    return [sys.executable, "-m", "counterpoint", *map(str, words)]


def train(folder, *overrides):
    """The run's process, which has just begun."""
    words = ("train", "voting_arithmetic", *SMALL, *overrides, "--out", folder)
    return _started(folder, *words)


def resume(folder, *overrides):
    return _started(folder, "resume", folder, *overrides)


def _started(folder, *words):
    with Path(f"{folder}.told").open("ab") as told:
        return subprocess.Popen(command(*words), stdout=told, stderr=told, start_new_session=True)


def told(folder):
    """What all commands of the run have printed."""
    return Path(f"{folder}.told").read_text(encoding="utf-8")


def ended(process, folder):
    """The exit status."""
    try:
        return process.wait(LONG)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(told(folder)) from None


def steps(folder):
    """The steps that the run has recorded."""
    path = Path(folder) / "metrics.jsonl"
    return path.read_text(encoding="utf-8").count('"step"') if path.exists() else 0


def until(is_true, process=None, seconds=LONG):
    """Waits until `is_true()`, and fails if it takes too long or the process ends before."""
    end = time.monotonic() + seconds
    while not is_true():
        assert time.monotonic() < end, "it took too long"
        assert process is None or process.poll() is None, "the process has ended"
        time.sleep(0.05)


def family(root):
    """Every process below `root`: its number and when it began -> its command line."""
    found, parents = {}, {root}
    table = [one for one in map(_known, Path("/proc").glob("[0-9]*")) if one]
    while parents:
        below = {one[0]: one for one in table if one[1] in parents}
        found |= {(pid, began): line for pid, _, began, line in below.values()}
        parents = set(below) - {root}
        table = [one for one in table if one[0] not in below]
    return found


def _known(folder):
    try:
        words = (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    return int(folder.name), int(words[1]), int(words[19]), line if words[0] != "Z" else ""


def left(family):
    """Those of the processes that are still there."""
    now = {(one[0], one[2]) for one in map(_known, Path("/proc").glob("[0-9]*")) if one and one[3]}
    return {line for which, line in family.items() if which in now}


def gone(family):
    """Waits until none of the processes is there, nor shared memory of Ray's.

    After a kill two agents of Ray's look for it for a minute before they end.
    """
    end = time.monotonic() + 150
    while found := left(family):
        assert time.monotonic() < end, found
        time.sleep(0.5)
    assert not [path.name for path in Path("/dev/shm").iterdir() if "plasma" in path.name or "ray" in path.name]
