"""Every claim about speed, measured: `python -m benchmarks [ROW ...] --repeats 5 --json FILE`.

Each row is printed as it is measured, and all of them as a table at the end. The two sides of a ratio take turns in one
run; shown are the median of the repeats, the lowest and the highest. What cannot be measured here says why.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from time import perf_counter

import torch
from rich.console import Console
from transformers.utils import logging as transformers_logging

from benchmarks import _machine, _table, history
from benchmarks._models import SHAPES
from benchmarks.base import Figure, Missing, Row, Setting

ROWS = ("step", "sampling", "learning", "isolated", "diagnostics", "overlap", "growth", "floor", "scales")
"""Each a function in the file of that name."""
WITHOUT_A_PEER = ROWS[1:]
"""What a quick run measures; of `sampling` what needs none."""
QUICK_REPEATS, REPEATS = 2, 5


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parse(arguments)
    setting = Setting(
        repeats=given.repeats or (QUICK_REPEATS if given.quick else REPEATS),
        threads=given.threads,
        device=given.device,
        model=given.model,
        tiny=given.tiny,
        quick=given.quick,
    )
    torch.set_num_threads(setting.threads)
    transformers_logging.disable_progress_bar()
    console = Console(highlight=False)
    machine = _machine.facts()
    rows: dict[str, list[Figure | Missing]] = {}
    loads: dict[str, dict[str, float]] = {}
    for name in given.rows or (WITHOUT_A_PEER if given.quick else ROWS):
        loads[name] = _machine.load()
        rows[name] = []
        _announce(console, name, loads[name])
        _measure(console, name, setting, rows[name])
        if given.json is not None:
            _table.write(given.json, setting, machine, loads, rows)
    tiny = "TINY SIZES, NOTHING TO QUOTE; " if setting.tiny else "QUICK, LITTLE WORK; " if setting.quick else ""
    where = f"{machine['processor']}, {machine['cores']} cores, {setting.threads} threads, {setting.device}"
    console.print()
    console.print(_table.table(rows, f"{tiny}{setting.repeats} repeats; {where}"))
    for found in (one for figures in rows.values() for one in figures if isinstance(one, Missing)):
        console.print(_table.line(found).strip(), markup=False, soft_wrap=True)
    if given.history:
        _keep(history.entry_of(_table.plain(setting, machine, loads, rows)))


def _keep(entry: history.Entry) -> None:
    """The entry is in the history. Exits with 1 if it cannot be."""
    try:
        print(history.write(entry))
    except ValueError as error:
        sys.exit(f"error: not kept in the history: {error}")


def _measure(console: Console, name: str, setting: Setting, found: list[Figure | Missing]) -> None:
    """`found` gets the figures of a row as they come, and the reason if it breaks off: the other rows go on."""
    began = perf_counter()
    row: Row = getattr(import_module(f"benchmarks.{name}"), name)
    try:
        for figure in row(setting):
            found.append(figure)
            console.print(_table.line(figure), markup=False, soft_wrap=True)
    except Exception as error:
        found.append(Missing(name=f"{name}, broken off", reason=f"{type(error).__name__}: {error}"))
        console.print(_table.line(found[-1]), markup=False, soft_wrap=True)
        console.print_exception()
    console.print(f"  ({perf_counter() - began:.0f} s)")


def _announce(console: Console, name: str, load: dict[str, float]) -> None:
    console.print(f"{name}: load average {load['load_average']:.2f}, others keep {load['busy_cores']:.2f} cores busy")
    if load["busy_cores"] > _machine.BUSY_FROM:
        console.print("  WARNING: the machine has other work: no figure of this row is to be quoted")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of: {', '.join(ROWS)}; all if none is named")
    parser.add_argument("--repeats", type=int, help=f"{REPEATS}, or {QUICK_REPEATS} with --quick")
    parser.add_argument("--threads", type=int, default=1, help="of torch on the CPU, on both sides")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything there, after each row")
    parser.add_argument("--history", action="store_true", help="also keep the figures in benchmarks/history/")
    parser.add_argument("--device", default="cpu", help="for the rows sampling, learning and floor")
    parser.add_argument(
        "--model",
        default="micro-medium",
        help=f"for the same rows: a shipped model, a folder, or random weights in a shape: {', '.join(SHAPES)}",
    )
    parser.add_argument("--quick", action="store_true", help="what needs no peer, in three minutes: less work")
    parser.add_argument("--tiny", action="store_true", help="sizes that take seconds, to see whether the rows work")
    given = parser.parse_args(arguments)
    if given.history and (given.quick or given.tiny):
        parser.error("a quick or tiny run is not kept in the history: its work is too small to be compared")
    for name in ("repeats", "threads"):
        if (count := getattr(given, name)) is not None and count < 1:
            parser.error(f"--{name} {count}: at least 1 is needed")
    for name in given.rows:
        if name not in ROWS:
            parser.error(f"no row is called {name!r}; there are: {', '.join(ROWS)}")
    return given


if __name__ == "__main__":
    main()
