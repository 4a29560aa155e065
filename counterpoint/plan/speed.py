"""The speed of a step: the rates of this machine, and the tokens per second that follow from them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from counterpoint.config import ModelConfig

if TYPE_CHECKING:
    import torch

_MATRIX = {"cpu": 1024, "cuda": 8192}
_COPIED = 2**28
"""Bytes at most of what is copied: so many that they are in no cache, if the base is not."""
SAMPLED = {"cpu": 0.37, "cuda": 0.26}
"""The part of the bound that the sampler of this package reached, by kind of device: docs/benchmarks.md."""
LEARNED = {"cpu": 0.40, "cuda": 0.22}
"""The same for the learner."""


@dataclass(frozen=True, slots=True)
class Rates:
    """The most that one device does per second."""

    operations: float
    """Floating-point operations of a large matrix product."""
    bytes: float
    """Read plus written by a copy."""

    def __str__(self) -> str:
        return f"{self.operations / 1e9:,.0f} GFLOP/s and {self.bytes / 1e9:,.0f} GB/s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """The calls of a role that one sampler generates, `rows` at a time; lengths are in tokens."""

    calls: int
    rows: int
    prompt: int
    """The longest."""
    read: int
    """All prompts together, each distinct one once."""
    said: int
    active: int
    """Parameters that a token passes through."""
    weights: int
    """Bytes of the base."""
    cached: int
    """Bytes of keys and values of a token."""

    def seconds(self, rates: Rates) -> float:
        """The least time: 2 operations per parameter and token; every step reads the base and the keys and values."""
        context = self.prompt + self.said / 2
        step = max(
            2 * self.active * self.rows / rates.operations,
            (self.weights + self.rows * context * self.cached) / rates.bytes,
        )
        return 2 * self.active * self.read / rates.operations + math.ceil(self.calls / self.rows) * self.said * step


def sampled_per_second(waves: Sequence[Wave], rates: Rates) -> float:
    """The most tokens of replies per second that one sampler can generate, one wave after the other."""
    return sum(wave.calls * wave.said for wave in waves) / sum(wave.seconds(rates) for wave in waves)


def learned_per_second(active: float, rates: Rates) -> float:
    """The most tokens per second that one rank can learn from: 6 operations per parameter that each passes through."""
    return rates.operations / (6 * active)


def rates_of(model: ModelConfig, weights: int, threads: int) -> Rates | None:
    """The rates of the device of a base of `weights` bytes, the best of five.

    None if it is not in this machine, or has no room for what is measured. Torch has `threads` threads afterwards.
    """
    import torch

    device = torch.device(model.device)
    if device.type not in _MATRIX or (device.type == "cuda" and not torch.cuda.is_available()):
        return None
    torch.set_num_threads(threads)
    try:
        return Rates(_product(device, getattr(torch, model.dtype)), _copy(device, min(weights, _COPIED)))
    except torch.OutOfMemoryError:
        return None


def measured_rate(threads: int) -> float:
    """Floating-point operations a second of this machine's float32 matrix product, the best of five."""
    import torch

    torch.set_num_threads(threads)
    return _product(torch.device("cpu"), torch.float32)


def _product(device: "torch.device", dtype: "torch.dtype") -> float:
    import torch

    side = _MATRIX[device.type]
    one = torch.rand(side, side, device=device).to(dtype)
    return 2 * side**3 / _best(lambda: torch.mm(one, one), device)


def _copy(device: "torch.device", size: int) -> float:
    import torch

    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / _best(lambda: target.copy_(source), device)


def _best(work: Callable[[], object], device: "torch.device") -> float:
    """Seconds of the fastest of five."""
    import torch

    times = []
    for _ in range(5):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(perf_counter() - began)
    return min(times)
