"""Studies of fake cells, for tests of the runner; run as a program, a runner that can be killed."""

import json
import os
import signal
import sys
from dataclasses import asdict
from itertools import count
from pathlib import Path

from counterpoint.experiments.cells import Cell, Measure, Study
from counterpoint.experiments.launch import launch, launch_one
from counterpoint.experiments.processes import start_words
from counterpoint.experiments.runner import Rules
from counterpoint.recipe import load_config

FAKE = Path(__file__).parent / "fake_cell.py"
QUICK = Rules(pause=0.005, period=0.02, grace=5.0)


def cell(group, seed, **more):
    overrides = ("run.steps=6", f"run.seed={seed}")
    labels = {"workflow": "voting", "sharing": group}
    name = f"{group}-s{seed}"
    return Cell(
        **{"name": name, "labels": labels, "seed": seed, "recipe": "voting_arithmetic", "overrides": overrides} | more
    )


def study(groups=("shared", "isolated"), seeds=(0, 1), measures=(), name="fake"):
    cells = tuple(cell(group, seed) for seed in seeds for group in groups)
    axes = {"sharing": tuple(groups)}
    return Study(
        name=name, file=None, compare="sharing", axes=axes, seeds=tuple(seeds), cells=cells, measures=tuple(measures)
    )


def swap(name, needs=None):
    """A measure of the cell of this name."""
    arguments = ("evaluate", f"{{{name}}}", "--swap", "a,b")
    return Measure(name="swap", cell=name, needs=needs or (name,), arguments=arguments)


def starter(study, scratch, behaviours=None):
    """A function that starts fake cells; `behaviours` maps the names of jobs to what they do. It notes the starts."""
    scratch.mkdir(exist_ok=True, parents=True)
    for one in study.cells:
        path = scratch / f"{one.name}.toml"
        if not path.is_file():
            path.write_text(load_config(one.recipe, one.overrides).toml(), encoding="utf-8")

    def start(command):
        behaviour = (behaviours or {}).get(command.job, "works")
        config = scratch / f"{command.job.partition('/')[0]}.toml"
        words = [sys.executable, "-S", "-E", str(FAKE), behaviour, str(config), *command.arguments]
        return start_words(words, command)

    return start


def starts(folder):
    """The job of every start, in order."""
    path = folder / "starts.txt"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return [(command, Path(place).relative_to(folder).as_posix()) for command, place in lines]


class Heard:
    """A watcher that remembers."""

    def __init__(self):
        self.lines, self.shown = [], []

    def say(self, line):
        self.lines.append(line)

    def show(self, found):
        self.shown.append(dict(found))


class Printed(Heard):
    def say(self, line):
        print(line, flush=True)


def one_cell(words):
    """A stand-in for `python -m counterpoint study fake --out DIR --cell NAME`."""
    folder, name = Path(words[words.index("--out") + 1]), words[words.index("--cell") + 1]
    fake = study(("shared", "isolated"), (0,))
    sys.exit(launch_one(fake, folder, name, rules=QUICK, start=starter(fake, folder.parent / "scratch")).exit_status)


def killed_at(moment, folder):
    """This process is killed before its change of a file in the folder with this number, from 1."""
    moments = count(1)

    def watched(name):
        original = getattr(Path, name)

        def change(self, *words, **options):
            is_change = name != "open" or (words and words[0] not in ("r", "rb"))
            if is_change and self.is_relative_to(folder) and next(moments) == moment:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, *words, **options)

        setattr(Path, name, change)

    for name in ("mkdir", "unlink", "rename", "replace", "rmdir", "write_text", "open"):
        watched(name)


def main():
    """A runner of its own: the folder, the number of jobs, the study's shape and the behaviours, as JSON."""
    if "--cell" in sys.argv:
        one_cell(sys.argv)
    table = json.loads(sys.argv[1])
    folder = Path(table["folder"])
    measures = tuple(map(swap, table.get("swapped", ())))
    fake = study(tuple(table["groups"]), tuple(table["seeds"]), measures)
    rules = Rules(**{**asdict(QUICK), **table.get("rules", {})})
    start = starter(fake, folder.parent / "scratch", table.get("behaviours"))
    killed_at(table.get("killed_at"), folder)
    outcome = launch(fake, folder, jobs=table["jobs"], rules=rules, start=start, watcher=Printed())
    sys.exit(outcome.exit_status)


if __name__ == "__main__":
    main()
