"""The choice of the number of torch threads: beside other work, several can be slower than one."""

import math
import os
from time import perf_counter

from counterpoint.config import Config
from counterpoint.runtimes import processes

SLOWER = 0.9
"""Several threads that reach less than this fraction of one thread's speed are a problem."""
_SHAPE = (256, 128, 384)
"""Rows, inputs and outputs of a product as a micro model's layers make it: where waiting for each other costs most."""
_ROUNDS = 4
_TURN = 0.015
"""Seconds."""


def rates(threads: int) -> tuple[float, float]:
    """Floating-point operations a second of small matrix products, with one thread and with `threads`.

    They take turns, an eighth of a second in all, so that both meet the same other work. Torch has as many threads
    afterwards as it had.
    """
    import torch  # not above: what only looks at a recipe does without it

    had = torch.get_num_threads()
    seconds, products = {1: 0.0, threads: 0.0}, {1: 0, threads: 0}
    for number in range(_ROUNDS + 1):
        for count in seconds:
            torch.set_num_threads(count)
            done, taken = _turn()
            if number:  # the first wakes the threads
                products[count] += done
                seconds[count] += taken
    torch.set_num_threads(had)
    operations = 2 * math.prod(_SHAPE)
    return operations * products[1] / seconds[1], operations * products[threads] / seconds[threads]


def _turn() -> tuple[int, float]:
    """The number of products computed, and the seconds they took."""
    import torch

    rows, inputs, outputs = _SHAPE
    one, other = torch.rand(rows, inputs), torch.rand(inputs, outputs)
    began, done, taken = perf_counter(), 0, 0.0
    while taken < _TURN:
        torch.mm(one, other)
        done, taken = done + 1, perf_counter() - began
    return done, taken


def warning(threads: int) -> str | None:
    """One line if `threads` threads are slower than one; None if they are not, or if there is just one."""
    if threads == 1:
        return None
    single, several = rates(threads)
    return slow(single, several, threads)


def slow(single: float, several: float, threads: int) -> str | None:
    """A warning if several threads are slower than one; else None."""
    if several >= SLOWER * single:
        return None
    return (
        f"{threads} threads reach {several / single:.0%} of the speed of one: other work keeps the cores busy;"
        " train with run.threads=1"
    )


def with_threads(config: Config) -> Config:
    """The recipe with `run.threads = 0` resolved: the cores that a process may use, or 1 if these are slower now."""
    if config.run.threads:
        return config
    cores = _cores(config)
    threads = 1 if warning(cores) else cores
    return config.model_copy(update={"run": config.run.model_copy(update={"threads": threads})})


def about_threads(given: Config, resolved: Config) -> str | None:
    """One line if the threads that the recipe names are slower than one, or one was chosen because more would be."""
    if given.run.threads:
        found = warning(resolved.run.threads)
        return None if found is None else f"WARNING: {found}"
    if resolved.run.threads == 1 < _cores(given):
        return "one torch thread: other work keeps the cores busy, and several would be slower; run.threads=N chooses"
    return None


def _cores(config: Config) -> int:
    """The cores of this machine for each process that computes; sampler and learner wait for each other."""
    return max(1, len(os.sched_getaffinity(0)) // max(1, *processes(config)))
