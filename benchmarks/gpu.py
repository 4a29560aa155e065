"""What is claimed of a GPU, measured in ten minutes: `python -m benchmarks.gpu --out FILE.json [--only PART,...]`.

Parts run in the order of their weight, each within a limit of its own. What a part has found is printed and written at
once, so that whatever ends the run loses nothing that was measured. `--tiny` shows on a CPU in seconds that every part
works. A peer, TRL, is needed for the part `step` only.
"""

import argparse
import gc
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers.utils import logging as transformers_logging

from benchmarks import _machine, _table
from benchmarks._gpu_parts import Bench, equality, learning, profile, sampling, speed
from benchmarks.base import Figure, Missing, Row, Setting
from benchmarks.step import step

SMALL, LARGE, TINY = "qwen3-0.6b-shape", "qwen3-1.7b-shape", "tiny-shape"
WHOLE = 570.0
"""Seconds of everything together."""
_AGAIN = 20.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the run."""

    name: str
    row: Callable[[Bench], Row]
    limit: float
    """Seconds."""


PARTS = (
    Part("machine", lambda bench: speed, 30),
    Part("learning", lambda bench: lambda setting: learning(bench, setting, SMALL, tasks=24), 100),
    Part("sampling", lambda bench: lambda setting: sampling(bench, setting, SMALL), 90),
    Part("step", lambda bench: step, 150),
    Part("learning-1.7b", lambda bench: lambda setting: learning(bench, setting, LARGE, tasks=8), 100),
    Part("equality", lambda bench: lambda setting: equality(bench, setting, SMALL), 60),
    Part("profile", lambda bench: lambda setting: profile(bench, setting, SMALL), 60),
)
USUAL = tuple(part.name for part in PARTS if part.name != "profile")


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parse(arguments)
    setting = Setting(repeats=given.repeats, threads=given.threads, device=given.device, model=SMALL, tiny=given.tiny)
    if setting.tiny:
        setting = replace(setting, model=TINY)
    torch.set_num_threads(setting.threads)
    transformers_logging.disable_progress_bar()
    began, bench = perf_counter(), Bench()
    machine = _machine.facts() | ({"commit": given.commit} if given.commit else {})
    rows: dict[str, list[Figure | Missing]] = {}
    seconds: dict[str, dict[str, float]] = {}
    for part in (one for one in PARTS if one.name in given.only):
        print(f"{part.name}:", flush=True)
        rows[part.name] = []
        limit, started = min(part.limit, given.within - (perf_counter() - began)), perf_counter()

        def written(name: str = part.name, started: float = started) -> None:
            seconds[name] = {"seconds": perf_counter() - started}
            _table.write(given.out, setting, machine, seconds, rows)

        _measure(part, setting, bench, rows[part.name], limit, written)
        print(f"  ({seconds[part.name]['seconds']:.0f} s)", flush=True)
    print(f"{perf_counter() - began:.0f} s in all; {given.out}", flush=True)


def _measure(
    part: Part,
    setting: Setting,
    bench: Bench,
    found: list[Figure | Missing],
    limit: float,
    written: Callable[[], None],
) -> None:
    """`found` gets the part's figures as they come, each of them written; and the reason, if it breaks off."""
    try:
        with _within(limit):
            for figure in part.row(bench)(setting):
                found.append(figure)
                written()
                print(_table.line(figure), flush=True)
    except (Exception, _OverError) as error:
        found.append(Missing(name=f"{part.name}, broken off", reason=f"{type(error).__name__}: {error}"))
        print(_table.line(found[-1]), flush=True)
        if isinstance(error, Exception):
            traceback.print_exc()
        bench.forget()  # it may be half-way through something
    written()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raises _OverError in what is done inside once that takes longer, and again where it goes on all the same."""

    def stop(*_: Any) -> None:
        raise _OverError(f"longer than {seconds:.0f} s")

    if seconds <= 1.0:
        raise _OverError("no time is left")
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


class _OverError(BaseException):
    """A part has taken longer than it may; no `except Exception` on the way is to keep it."""


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [part.name for part in PARTS]
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="written after each figure, as JSON")
    parser.add_argument("--only", default=",".join(USUAL), metavar="PART,...", help=f"of: {', '.join(names)}")
    parser.add_argument("--within", type=float, default=WHOLE, metavar="SECONDS", help="for all parts together")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=4, help="of torch on the CPU, on both sides")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--commit", help="that was measured, where git cannot be asked")
    parser.add_argument("--tiny", action="store_true", help="sizes that take seconds, to see whether the parts work")
    given = parser.parse_args(arguments)
    given.only = given.only.split(",")
    for name in given.only:
        if name not in names:
            parser.error(f"no part is called {name!r}; there are: {', '.join(names)}")
    return given


if __name__ == "__main__":
    main()
