"""The step time of a training while its page is open, over that of the same training while no page is.

    python -m benchmarks.viewer

A run is trained; its page is open in a browser in every second block of steps. Needs Chromium and playwright.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.browser import ARGUMENTS, NAMES

BLOCK = 3
"""Whole steps for which the page is open, and then is not; the step in which that changes does not count."""
SECONDS = 120.0
"""Seconds after which the training is ended."""
SMALL = (
    *("task.validation=8", "task.test=8", "evaluation.every=1000", "run.steps=1000", "run.save_every=1000"),
    *("rollout.tasks_per_step=2", "rollout.group_size=4", "run.threads=1"),
)


def main() -> None:
    """Print the ratio, and the step times that it is made of."""
    with tempfile.TemporaryDirectory() as folder:
        times, blocks = measured(Path(folder))
    by_page: dict[bool, list[float]] = {True: [], False: []}
    for first, last, is_open in blocks:
        by_page[is_open] += times[first:last]
    open_, closed = median(by_page[True]), median(by_page[False])
    counts = {is_open: len(values) for is_open, values in by_page.items()}
    ratio = f"{open_:.3f} s / {closed:.3f} s = {open_ / closed:.3f}"
    print(f"step time with the page open / without: {ratio} ({counts[True]} and {counts[False]} steps)")


def measured(folder: Path) -> tuple[list[float], list[tuple[int, int, bool]]]:
    """The seconds of each step, and the blocks of steps: first, last and if the page was open."""
    from shutil import which

    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(which, NAMES)))
    command = [sys.executable, "-m", "counterpoint"]
    train = [*command, "train", "voting_arithmetic", *SMALL, "--out", str(folder / "run")]
    metrics = folder / "run" / "metrics.jsonl"
    blocks = []
    with (
        subprocess.Popen([*command, "view", str(folder)], stdout=subprocess.PIPE, encoding="utf-8") as viewer,
        subprocess.Popen(train, stdout=subprocess.DEVNULL) as training,
        sync_playwright() as playwright,
    ):
        assert viewer.stdout is not None
        address = viewer.stdout.readline().split()[0]
        browser = playwright.chromium.launch(executable_path=chromium, args=list(ARGUMENTS))
        while not steps_of(metrics):
            time.sleep(0.2)
        is_open, end = False, time.monotonic() + SECONDS
        while training.poll() is None and time.monotonic() < end:
            is_open = not is_open
            page = browser.new_page() if is_open else None
            if page is not None:
                page.goto(f"{address}run/run")
            first = len(steps_of(metrics)) + 1  # a step that had begun belongs to neither
            while len(steps_of(metrics)) < first + BLOCK and training.poll() is None:
                time.sleep(0.1)
            blocks.append((first, first + BLOCK, is_open))
            if page is not None:
                page.close()
        browser.close()
        viewer.terminate()
        training.terminate()
    return steps_of(metrics), blocks


def steps_of(metrics: Path) -> list[float]:
    """The seconds of the recorded steps."""
    if not metrics.is_file():
        return []
    lines = metrics.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line)["time/step"] for line in lines]


if __name__ == "__main__":
    main()
