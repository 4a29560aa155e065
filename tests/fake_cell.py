"""A program that imitates a run: the files of its directory, its lock and its exit status, in a fraction of a second.

    python fake_cell.py BEHAVIOUR CONFIG train RECIPE [KEY=VALUE]... --out DIR
    python fake_cell.py BEHAVIOUR CONFIG resume DIR

CONFIG is the text of `config.toml`, in a file. The numbers of a step depend on the step alone, so that a run that was
interrupted has the same files as an unbroken one. A line in `starts.txt`, beside the run, says that it began.
"""

import fcntl
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

STEPS = 6
PAUSE = 0.01


def whole(path, text):
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.rename(path)


def begin(path, config):
    if (path / "config.toml").is_file():
        sys.exit(f"error: {path} already holds a run")
    path.mkdir(exist_ok=True, parents=True)
    if set(os.listdir(path)) - {"run.lock"}:
        sys.exit(f"error: {path} exists and is not empty")
    held = locked(path)
    for name in ("episodes", "samples", "evaluations", "checkpoints"):
        (path / name).mkdir()
    whole(path / "run.json", json.dumps({"format": 5}))
    whole(path / "config.toml", config)
    return held


def locked(path):
    held = os.open(path / "run.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"error: {path} is in use")
        sys.exit(75)
    return held


def rows(path):
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.is_file() else []


def append(path, row):
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def restored(path):
    folder = path / "checkpoints"
    for leftover in folder.glob(".*"):
        shutil.rmtree(leftover)
    saved = max((int(name) for name in os.listdir(folder)), default=-1)
    for name in ("metrics.jsonl", "evaluations.jsonl"):
        kept = [row for row in rows(path / name) if row["step"] <= saved]
        whole(path / name, "".join(json.dumps(row) + "\n" for row in kept))
    return saved


def train(path, behaviour):
    for step in range(restored(path) + 1, STEPS + 1):
        time.sleep(PAUSE if behaviour != "slow" else 0.1)
        if step:
            append(path / "metrics.jsonl", {"step": step, "time/step": 0.5, "warning/cliff": float(step == STEPS)})
        for split in ("test", "validation"):
            row = {"step": step, "split": split, "accuracy": step / 10, "outcomes": {}, "roles": {}, "numbers": {}}
            append(path / "evaluations.jsonl", row)
        if behaviour == "fails late" and step == 2:
            sys.exit("error: it fails late")
        if behaviour == "is killed" and step == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        partial = path / "checkpoints" / f".{step:06d}.partial"
        partial.mkdir()
        (partial / "state.json").write_text(json.dumps({"step": step, "stopped": None}))
        partial.rename(path / "checkpoints" / f"{step:06d}")
    whole(path / "summary.json", "{}")


def evaluate(out, behaviour):
    time.sleep(PAUSE)
    if behaviour == "fails":
        sys.exit("error: it cannot be evaluated")
    out.parent.mkdir(exist_ok=True)
    whole(out, json.dumps(sys.argv[3:]))


def main():
    behaviour, config, command, *words = sys.argv[1:]
    path = Path(words[0] if command == "resume" else words[words.index("--out") + 1])
    folder = path.parent.parent.parent if command == "evaluate" else path.parent
    append(folder / "starts.txt", [command, str(path)])
    if behaviour == "slow to start":
        time.sleep(0.5)
    if command == "evaluate":
        return evaluate(path, behaviour)
    if command == "train" and behaviour == "fails":
        print("Traceback: something of the library's")
        sys.exit("error: it cannot work")
    if behaviour == "fills the disk":
        sys.exit(f"error: {path}: No space left on device: free some space")
    held = begin(path, Path(config).read_text()) if command == "train" else locked(path)
    if behaviour == "is stopped":
        signal.signal(signal.SIGTERM, lambda *_: None)  # it does not end in order
        time.sleep(30)
    train(path, behaviour)
    print("done")
    os.close(held)
    return None


if __name__ == "__main__":
    main()
