"""How often a judge of mathematics is wrong: ours and plain math-verify, on pairs whose truth is known.

    python benchmarks/mathematics.py --draws 7 --seed 0 --out pairs.jsonl

Prints a table of error rates with their 95 % intervals (Wilson), and writes every pair with both verdicts. Plain
math-verify is what its README shows: `verify(parse(key), parse(answer))`.
"""

import argparse
import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter

from math_verify import parse, verify
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.mathematics_pairs import Pair, pairs
from counterpoint.analysis.intervals import interval
from counterpoint.judges.mathematics.judge import MathJudge

Verdicts = list[bool | None]
"""Per pair: right, wrong, or not judged."""


def by_counterpoint(found: Sequence[Pair]) -> Verdicts:
    async def judged() -> Verdicts:
        async with MathJudge(workers=1) as judge:
            scores = [await judge.judge(pair.answer, pair.key) for pair in found]
            return [None if score.reward is None else score.reward == 1.0 for score in scores]

    return asyncio.run(judged())


def by_math_verify(found: Sequence[Pair]) -> Verdicts:
    logging.disable(logging.CRITICAL)
    return [bool(verify(parse(f"${pair.key}$"), parse(f"${pair.answer}$"))) for pair in found]


JUDGES: dict[str, Callable[[Sequence[Pair]], Verdicts]] = {
    "counterpoint": by_counterpoint,
    "math-verify": by_math_verify,
}


def rate(errors: int, of: int) -> str:
    found = interval([1.0] * errors + [0.0] * (of - errors))
    return f"{errors} of {of}: {100 * found.value:.2f} % [{100 * found.low:.2f}, {100 * found.high:.2f}]"


def table(found: Sequence[Pair], verdicts: dict[str, Verdicts], seconds: dict[str, float]) -> Table:
    shown = Table(title=f"{len(found)} pairs", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("judge", "wrong but accepted", "right but refused", "not judged", "pairs per second"):
        shown.add_column(column)
    for name, given in verdicts.items():
        wrong = [verdict for pair, verdict in zip(found, given, strict=True) if not pair.right]
        right = [verdict for pair, verdict in zip(found, given, strict=True) if pair.right]
        accepted, refused = sum(one is True for one in wrong), sum(one is False for one in right)
        unjudged = rate(sum(one is None for one in given), len(given))
        speed = f"{len(found) / seconds[name]:.0f}"
        shown.add_row(name, rate(accepted, len(wrong)), rate(refused, len(right)), unjudged, speed)
    return shown


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=7, help="keys for each form and size; 7 make 2,331 pairs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--judge", choices=[*JUDGES], action="append", help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, metavar="FILE", help="every pair with its verdicts, as JSON Lines")
    given = parser.parse_args(arguments)
    found = [*pairs(given.draws, given.seed)]
    verdicts: dict[str, Verdicts] = {}
    seconds: dict[str, float] = {}
    for name in given.judge or JUDGES:
        began = perf_counter()
        verdicts[name] = JUDGES[name](found)
        seconds[name] = perf_counter() - began
    Console(width=160, highlight=False).print(table(found, verdicts, seconds))
    if given.out is not None:
        rows = [
            {**asdict(pair), **{name: judged[at] for name, judged in verdicts.items()}} for at, pair in enumerate(found)
        ]
        given.out.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
