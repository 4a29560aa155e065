"""Where the time of a step goes on 1 to 128 GPUs, simulated: `python -m benchmarks.placement [KEY=VALUE ...]`.

Nothing is measured: replicas generate and ranks learn as `_placed_facts.Facts` assumes, and every assumption can be
overridden, such as `tasks=256 learn_part=0.3 spread=1.2`. `--lengths FILE` draws the lengths of replies from a file
with a number per line. Printed are the layouts for 1, 8 and 64 GPUs, and the best split of each number of GPUs. The
same arguments and seed give the same text.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks._placed import Result, simulate
from benchmarks._placed_facts import Facts, Layout, decode_seconds, mean_length

LAYOUTS = {
    "1 GPU": Layout(1, 1, beside=True),
    "8 GPUs": Layout(4, 4),
    "8 GPUs, overlap": Layout(4, 4, overlap=True),
    "64 GPUs": Layout(32, 32),
    "64 GPUs, overlap": Layout(32, 32, overlap=True),
}
GPUS = (1, 2, 4, 8, 16, 32, 64, 128)
_SPLITS = (1 / 4, 3 / 8, 1 / 2, 5 / 8, 3 / 4, 7 / 8)
"""The parts of the GPUs that generate, among which the best is looked for."""
_PAYS = 1.25
"""Twice as many GPUs pay as long as a step is faster by at least this."""
LARGE_BATCH = 256
"""Tasks per step in the second line of the picture."""


def best(facts: Facts, gpus: int, seed: int = 0) -> Result:
    """The fastest layout found for so many GPUs: with overlap from two GPUs on."""
    if gpus == 1:
        return simulate(facts, Layout(1, 1, beside=True), seed)
    replicas = dict.fromkeys(min(gpus - 1, max(1, round(gpus * part))) for part in _SPLITS)
    found = (simulate(facts, Layout(count, gpus - count, overlap=True), seed) for count in replicas)
    return min(found, key=lambda one: one.step)


def most_that_pay(results: Sequence[Result]) -> int:
    """The GPUs up to which every doubling in `results` pays."""
    paying = results[0].layout.gpus
    for one, more in pairwise(results):
        if one.step / more.step < _PAYS:
            return paying
        paying = more.layout.gpus
    return paying


def longest_chain(facts: Facts) -> float:
    """Seconds of an episode whose every turn has a reply as long as may be, generated alone."""
    most = max(facts.lengths, default=facts.most)
    each = [
        turn.prompt / facts.prefill + most * decode_seconds(facts, 1, turn.prompt + (most - 1) / 2)
        for turn in facts.turns
    ]
    return sum(each) + facts.between * (len(each) - 1)


def layouts_table(found: Mapping[str, Result]) -> list[str]:
    head = (
        "| layout | replicas + ranks | step s | sampling s | of it the tail | learning s | waits s | busy | tokens/s |"
    )
    rows = [
        f"| {name} | {one.layout.replicas} + {one.layout.ranks}{' on the same' if one.layout.beside else ''} |"
        f" {one.step:.0f} | {one.play:.0f} | {one.tail:.0f} | {one.learn:.0f} | {one.waits:.0f} |"
        f" {one.sampler_busy:.0%}, {one.learner_busy:.0%} | {one.tokens_per_second:,.0f} |"
        for name, one in found.items()
    ]
    return [head, "|---|---|---|---|---|---|---|---|---|", *rows]


def sweep_table(facts: Facts, results: Sequence[Result]) -> list[str]:
    first = results[0]
    rows = [
        f"| {one.layout.gpus} | {one.layout.replicas} + {one.layout.ranks} | {one.step:.0f} |"
        f" {first.step / one.step:.1f} | {first.step / one.step / one.layout.gpus:.0%} | {_bound(facts, one)} |"
        for one in results
    ]
    return ["| GPUs | best split | step s | times faster | per GPU | bound by |", "|---|---|---|---|---|---|", *rows]


def _bound(facts: Facts, one: Result) -> str:
    """The part that takes most of a step's time."""
    if one.layout.beside:
        return "both, one after the other"
    if one.learn > one.play:
        return "learning"
    return "the longest replies" if one.tail > one.play / 4 else "sampling"


def picture(results: Mapping[str, Sequence[Result]]) -> str:
    """Seconds per step over GPUs, a line per batch, as SVG."""
    import polars as pl

    from counterpoint.reports.drawing import svg
    from counterpoint.reports.figure import Figure

    columns = ("GPUs", "seconds", "batch")
    rows = [(one.layout.gpus, one.step, name) for name, found in results.items() for one in found]
    says = "Seconds per step over GPUs: simulated, not measured."
    data = {"rows": pl.DataFrame(rows, schema=columns, orient="row")}
    return svg(Figure(name="placement", title="", says=says, spec=_spec(list(results)), data=data))


def _spec(batches: Sequence[str]) -> dict[str, Any]:
    from counterpoint.reports.looks import GROUP_RANGE

    x = {"type": "log", "base": 2}, {"values": list(GPUS), "format": "d", "grid": False}
    y = {"type": "log", "nice": False}, {"values": [50, 100, 200, 500, 1000, 2000, 5000], "format": "d"}
    legend = {"orient": "bottom", "title": None, "columnPadding": 24}
    return {
        "width": 420,
        "height": 240,
        "data": {"name": "rows"},
        "mark": {"type": "line", "point": True},
        "encoding": {
            "x": {"field": "GPUs", "type": "quantitative", "scale": x[0], "axis": x[1]},
            "y": {
                "field": "seconds",
                "type": "quantitative",
                "scale": y[0],
                "axis": y[1],
                "title": "seconds per step (simulated)",
            },
            "color": {
                "field": "batch",
                "type": "nominal",
                "scale": {"domain": list(batches), "range": GROUP_RANGE},
                "legend": legend,
            },
        },
    }


def report(facts: Facts, seed: int, gpus: Sequence[int]) -> Iterator[str]:
    """The lines that are printed, as they are found."""
    yield f"{facts.tasks} tasks x {facts.group} episodes, replies of {mean_length(facts):,.0f} tokens on average"
    yield f"an episode whose replies are all as long as may be takes {longest_chain(facts):.0f} s alone"
    yield ""
    yield from layouts_table({name: simulate(facts, layout, seed) for name, layout in LAYOUTS.items()})
    yield ""
    results = [best(facts, count, seed) for count in gpus]
    yield from sweep_table(facts, results)
    yield ""
    most = most_that_pay(results)
    yield f"doubling pays (a step at least {_PAYS:g} times faster) up to {most} {'GPU' if most == 1 else 'GPUs'}"


def overridden(facts: Facts, given: Sequence[str]) -> Facts:
    """The facts with `KEY=VALUE` laid over them. Raises ValueError for an unknown key or a value that is no number."""
    kinds = {one.name: type(getattr(facts, one.name)) for one in fields(facts)}
    for text in given:
        key, _, value = text.partition("=")
        if kinds.get(key) not in (int, float):
            known = ", ".join(name for name, kind in kinds.items() if kind in (int, float))
            raise ValueError(f"no assumption is called {key!r}; there are: {known}")
        try:
            number = kinds[key](value)
        except ValueError:
            raise ValueError(f"{text}: {value!r} is no {kinds[key].__name__}") from None
        if not 0 <= number < float("inf"):
            raise ValueError(f"{text}: a number from 0 on is needed")
        facts = replace(facts, **{key: number})
    return facts


def lengths_in(path: Path) -> tuple[int, ...]:
    """The lengths of replies in a file, one per line. Raises ValueError if a line is none."""
    found = tuple(int(line) for line in path.read_text(encoding="utf-8").split())
    if not found or min(found) < 1:
        raise ValueError(f"{path}: a number from 1 on per line is needed")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.placement", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("given", nargs="*", metavar="KEY=VALUE", help="an assumption: a number of _placed_facts.Facts")
    parser.add_argument("--lengths", type=Path, metavar="FILE", help="measured lengths of replies")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--gpus", type=lambda text: [int(one) for one in text.split(",")], default=list(GPUS))
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also draw steps over GPUs, for two sizes of batch")
    given = parser.parse_args(arguments)
    try:
        facts = overridden(Facts(), given.given)
        if given.lengths is not None:
            facts = replace(facts, lengths=lengths_in(given.lengths))
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for line in report(facts, given.seed, given.gpus):
        print(line, flush=True)
    if given.svg is not None:
        batches = {f"{tasks} tasks per step": replace(facts, tasks=tasks) for tasks in (facts.tasks, LARGE_BATCH)}
        drawn = {name: [best(one, count, given.seed) for count in given.gpus] for name, one in batches.items()}
        given.svg.write_text(picture(drawn), encoding="utf-8")


if __name__ == "__main__":
    main()
