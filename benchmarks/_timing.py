"""Times taken in turns, and the arithmetic on them."""

import gc
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from time import perf_counter
from typing import Any

import torch

from benchmarks.base import Figure, Target

Side = Callable[[], float]
"""Does its work once and says how many seconds it took."""
Seconds = Mapping[str, Sequence[float]]


def side(work: Callable[[], object]) -> Side:
    """`work`, timed; on a GPU to the end of what it started there."""

    def seconds() -> float:
        began = perf_counter()
        work()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        return perf_counter() - began

    return seconds


def in_turns(sides: Mapping[str, Side], repeats: int, *, warm: int = 1) -> dict[str, list[float]]:
    """The seconds of each side, side after side in every round; the first `warm` rounds are not counted.

    The garbage of one side is collected before the next begins.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(warm + repeats):
        for name, measure in sides.items():
            gc.collect()
            taken = measure()
            if number >= warm:
                seconds[name].append(taken)
    return seconds


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """One by one: what was measured in the same round."""
    return [one / other for one, other in zip(over, under, strict=True)]


def ratio(name: str, seconds: Seconds, *, over: str, under: str, target: Target | None, **facts: Any) -> Figure:
    """How many times longer the side `over` takes than the side `under`."""
    return Figure(
        name=name,
        values=ratios(seconds[over], seconds[under]),
        target=target,
        parts={f"{side}, s": seconds[side] for side in (over, under)},
        facts=facts,
    )


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Of the straight line nearest to log(values) over log(sizes): 1 where the values grow as the sizes do."""
    xs, ys = [math.log(size) for size in sizes], [math.log(value) for value in values]
    x, y = fmean(xs), fmean(ys)
    along = sum((one - x) * (other - y) for one, other in zip(xs, ys, strict=True))
    return along / sum((one - x) ** 2 for one in xs)
