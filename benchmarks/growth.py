"""How the time and the memory of a step grow with its work: slopes on a double-logarithmic scale.

1 means: twice the work, twice the time. A step is sampling, gradients, the optimizer and the new weights to the
sampler, on random weights in the shape of micro-medium. Memory is the process's largest size during the first step,
less what it was before the model was made.
"""

import ctypes
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks import _work
from benchmarks._models import random_model
from benchmarks._sides import Ours
from benchmarks._timing import Side, in_turns, side, slope
from benchmarks._work import Size
from benchmarks.base import Figure, Setting, Target

MICRO = {
    "vocab_size": 525,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 384,
}


@dataclass(frozen=True, slots=True)
class Axis:
    """What grows, everything else equal, and how fast the time may."""

    name: str
    points: Sequence[tuple[float, Size, int]]
    """The size that the slope is taken over, the work, and how many times wider the model is."""
    target: Target | None


def axes(setting: Setting) -> list[Axis]:
    base = setting.size(
        Size(tasks=8, group=8, prompt=64, completion=32),
        _work.TINY,
        Size(tasks=2, group=8, prompt=64, completion=32),
    )
    long = replace(base, prompt=4 * base.prompt)
    steps = setting.size((1, 2, 4, 8), (1, 2), (1, 2, 4))
    widths = setting.size((1, 2, 4), (1, 2), (1, 2))
    tasks = [replace(base, tasks=step * base.tasks) for step in steps]
    prompts = [replace(base, prompt=step * base.prompt) for step in steps]
    groups = [replace(long, tasks=base.tasks // 2, group=2 * step) for step in steps]
    return [
        Axis("calls", [(size.rows, size, 1) for size in tasks], Target("<=", 1.0)),
        Axis("prompt length", [(size.prompt, size, 1) for size in prompts], None),
        Axis("group size", [(size.group, size, 1) for size in groups], Target("<=", 0.8)),
        Axis(
            "model size", [(_parameters(width), replace(base, tasks=base.tasks // 2), width) for width in widths], None
        ),
    ]


def growth(setting: Setting) -> Iterator[Figure]:
    for axis in axes(setting):
        sides: dict[str, Side] = {}
        memory: list[float] = []
        for place, (_, size, width) in enumerate(axis.points):
            sides[str(place)], used = _prepared(size, width, setting)
            memory.append(used)
        seconds = in_turns(sides, setting.repeats, warm=0)
        sizes = [point for point, _, _ in axis.points]
        rounds = zip(*seconds.values(), strict=True)
        yield Figure(
            name=f"time over {axis.name}, slope",
            values=[slope(sizes, times) for times in rounds],
            target=axis.target,
            parts={f"at {one:g}, s": seconds[str(place)] for place, one in enumerate(sizes)},
            facts={axis.name: sizes},
        )
        yield Figure(
            name=f"memory over {axis.name}, slope",
            values=[slope(sizes, memory)],
            parts={f"at {one:g}, MiB": [used / 2**20] for one, used in zip(sizes, memory, strict=True)},
            facts={axis.name: sizes},
        )


def _prepared(size: Size, width: int, setting: Setting) -> tuple[Side, float]:
    """A step to be timed, warm, and the bytes that its first time took."""
    before = _begin_memory()
    model = random_model(_shape(width))
    ours = Ours(model, setting, _work.single(_work.TINY, MICRO["vocab_size"]))
    work = partial(ours.step, _work.requests(size, MICRO["vocab_size"]), _work.single(size, MICRO["vocab_size"]))
    work()
    return side(work), max(1.0, _largest() - before)


def _shape(width: int) -> dict[str, int]:
    wider = ("hidden_size", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    return {name: value * width if name in wider else value for name, value in MICRO.items()}


def _parameters(width: int) -> int:
    return sum(parameter.numel() for parameter in random_model(_shape(width)).parameters())


def _begin_memory() -> int:
    """Bytes of this process now; its largest size is counted anew from here."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return _status("VmRSS")


def _largest() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))
