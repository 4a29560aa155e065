"""The floor model: the least operations, bytes and launches of learning and sampling, and the time that they bound.

    python -m benchmarks.floors --shape qwen3-0.6b-shape --rate 792e12 --copy 4.2e12 --bytes 2

Pure arithmetic on a model's shape and on the work; docs/design/floors.md has the formulas. Whatever a program does, a
step takes at least the longest of three times: operations at the rate of a large matrix product, bytes at the rate of a
large copy, and launches at the rate at which kernels can follow each other.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks._models import SHAPES

MICRO_MEDIUM = {
    "vocab_size": 525,
    "hidden_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "intermediate_size": 384,
}
DECODING_KERNELS, LEARNING_KERNELS = 9, 24
"""Per layer, if everything between two products is one kernel. Decoding: norm, query-key-value, turn and store,
attention, output, sum and norm, gate-up, gated, down. Learning: the same forward, and 15 in the backward pass."""
_FLOAT32 = 4
"""Bytes of a number of an adapter while learning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The numbers of a model of the usual kind that decide what it costs."""

    layers: int
    hidden: int
    heads: int
    key_heads: int
    head: int
    """Values per head."""
    inner: int
    """Values of the MLP."""
    vocabulary: int
    rank: int = 0
    """Of the adapter on every linear layer; 0 without one."""

    @property
    def linear(self) -> int:
        """Weights of all layers' products."""
        queries, keys = self.heads * self.head, self.key_heads * self.head
        return self.layers * self.hidden * (2 * queries + 2 * keys + 3 * self.inner)

    @property
    def adapter(self) -> int:
        """Weights of the adapter."""
        queries, keys = self.heads * self.head, self.key_heads * self.head
        ends = (self.hidden + queries) + 2 * (self.hidden + keys) + (queries + self.hidden)
        return self.layers * self.rank * (ends + 3 * (self.hidden + self.inner))

    @property
    def unembedding(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def seen(self) -> int:
        """Operations for each pair of a token and one that it attends to, in all layers."""
        return 4 * self.layers * self.heads * self.head

    @property
    def cached(self) -> int:
        """Numbers kept per token: its keys and values in all layers."""
        return 2 * self.layers * self.key_heads * self.head


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What bounds a program on it."""

    operations: float
    """Per second, in a large matrix product."""
    bytes: float
    """Per second, read and written in a large copy."""
    launch: float
    """Seconds from one kernel or operator to the next, if both do nothing."""
    number: int
    """Bytes of a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What some work needs at least."""

    operations: float
    bytes: float
    launches: float

    def times(self, machine: Machine) -> dict[str, float]:
        """Seconds that each of the three takes alone."""
        return {
            "operations": self.operations / machine.operations,
            "bytes": self.bytes / machine.bytes,
            "launches": self.launches * machine.launch,
        }

    def bound(self, machine: Machine) -> tuple[str, float]:
        """The one that takes longest, and its seconds: no program is faster."""
        return max(self.times(machine).items(), key=lambda pair: pair[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Calls that are sampled and learned from."""

    rows: int
    """Calls."""
    group: int
    """Calls with the same prompt."""
    prompt: int
    """Tokens."""
    said: int
    """Tokens."""

    @property
    def prompts(self) -> int:
        """Distinct ones."""
        return -(-self.rows // self.group)

    def sampling(self, shape: Shape, number: int) -> Need:
        return sampler(shape, number, rows=self.rows, prompts=self.prompts, prompt=self.prompt, said=self.said)

    def learning(self, shape: Shape, number: int, batch: int) -> Need:
        """Each distinct prompt goes through the model once."""
        looks = self.said * self.prompt + self.said * (self.said + 1) // 2
        return learner(
            shape,
            number,
            tokens=self.prompts * self.prompt + self.rows * self.said,
            predicted=self.rows * self.said,
            pairs=self.prompts * self.prompt * (self.prompt + 1) // 2 + self.rows * looks,
            batch=batch,
        )


def shape_of(config: Mapping[str, int], *, rank: int = 0) -> Shape:
    """The shape of a model by the names of its config.json."""
    return Shape(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        key_heads=config["num_key_value_heads"],
        head=config["head_dim"],
        inner=config["intermediate_size"],
        vocabulary=config["vocab_size"],
        rank=rank,
    )


def learner(shape: Shape, number: int, *, tokens: int, predicted: int, pairs: int, batch: int) -> Need:
    """A pass forward and back over `tokens` packed tokens, in micro-batches of `batch`.

    `predicted` of them predict a token, and `pairs` are pairs of a token and one that it attends to. No gradient is
    needed for frozen weights. `number` is the bytes of a number.
    """
    forward = 2 * (shape.linear + shape.adapter) * tokens + 2 * shape.unembedding * predicted + shape.seen * pairs
    batches = -(-tokens // batch)
    weights = 2 * (shape.linear + shape.unembedding) * number + 3 * _FLOAT32 * shape.adapter
    streams = 2 * shape.layers * _passed(shape) * number * tokens
    logits = 4 * shape.vocabulary * number * predicted
    return Need(
        operations=2 * forward + 2 * shape.adapter * tokens,
        bytes=batches * weights + streams + logits,
        launches=batches * (shape.layers * LEARNING_KERNELS + 4),
    )


def learner_of(shape: Shape, number: int, facts: Mapping[str, int]) -> Need:
    """The need of samples by the facts that `benchmarks.gpu` writes of them."""
    tokens, predicted, pairs, batch = (facts[name] for name in ("packed_tokens", "predicted", "pairs", "micro_batch"))
    return learner(shape, number, tokens=tokens, predicted=predicted, pairs=pairs, batch=batch)


def sampler(shape: Shape, number: int, *, rows: int, prompts: int, prompt: int, said: int) -> Need:
    """`rows` replies of `said` tokens to `prompts` distinct prompts of `prompt` tokens, all in one wave.

    Weights are read once per step, and so are the keys and values of every row; those of a prompt once for all rows
    that share it.
    """
    once = prompts * (prompt - 1)
    pairs = prompts * (prompt - 1) * prompt // 2 + rows * (said * (prompt - 1) + said * (said + 1) // 2)
    tokens = once + rows * said
    products = 2 * (shape.linear + shape.adapter) * tokens + 2 * shape.unembedding * rows * said
    weights = (shape.linear + shape.adapter + shape.unembedding) * number * (said + 1)
    looked_at = prompts * said * prompt + rows * said * (said + 1) // 2
    logits = 2 * shape.vocabulary * number * rows * said
    return Need(
        operations=products + shape.seen * pairs,
        bytes=weights + shape.cached * number * looked_at + logits,
        launches=(said + 1) * (shape.layers * DECODING_KERNELS + 4),
    )


def _passed(shape: Shape) -> int:
    """Numbers per token and layer that are read or written forward, if all between two products is one pass.

    Each reads its input and writes its output: the products, turning, attention, the gate, and twice a sum with its
    norm.
    """
    queries, keys = shape.heads * shape.head, shape.key_heads * shape.head
    attention = (shape.hidden + queries + 2 * keys) + 2 * (queries + 2 * keys) + (2 * queries + 2 * keys)
    projected = (queries + shape.hidden) + 2 * 4 * shape.hidden
    inner = (shape.hidden + 2 * shape.inner) + 3 * shape.inner + (shape.inner + shape.hidden)
    return attention + projected + inner


def beside(found: Mapping[str, Any], shapes: Mapping[str, Shape], machine: Machine) -> list[str]:
    """Seconds reached, by the JSON of `benchmarks.gpu`, over the seconds of the bound; a line for each figure."""
    lines = []
    for figure in (one for figures in found["rows"].values() for one in figures if "value" in one):
        facts, name = figure["facts"], figure["name"]
        if "packed_tokens" in facts:
            need = learner_of(shapes[name.partition(":")[0]], machine.number, facts)
        elif "said" in facts:
            work = {key: facts[key] for key in ("rows", "prompts", "prompt", "said")}
            need = sampler(shapes[found["setting"]["model"]], machine.number, **work)
        else:
            continue
        reached, (bound, least) = median(figure["parts"]["ours, s"]), need.bound(machine)
        lines.append(f"| {name} | {reached:.3g} | {least:.3g} | {bound} | {reached / least:.1f} |")
    return lines


def table(shape: Shape, machine: Machine, works: Sequence[Work], batch: int) -> list[str]:
    """Lines for a step of each work: its sampling, its learning, and both after each other."""
    lines = ["| work | operations, ms | bytes, ms | launches, ms | bound | tokens/s |", "|---|---|---|---|---|---|"]
    for work in works:
        sampling, learning = work.sampling(shape, machine.number), work.learning(shape, machine.number, batch)
        calls = f"{work.rows:,} calls of {work.prompt} + {work.said}"
        lines += [_line(f"sampler, {calls}", sampling, machine, work), _line("learner", learning, machine, work)]
        seconds = sampling.bound(machine)[1] + learning.bound(machine)[1]
        lines.append(f"| step | | | | {_three(1e3 * seconds)} ms | {_three(work.rows * work.said / seconds)} |")
    return lines


def _line(what: str, need: Need, machine: Machine, work: Work) -> str:
    times = need.times(machine)
    bound, seconds = need.bound(machine)
    shown = " | ".join(_three(1e3 * times[name]) for name in ("operations", "bytes", "launches"))
    return f"| {what} | {shown} | {bound} | {_three(work.rows * work.said / seconds)} |"


def _three(value: float) -> str:
    """With three significant digits."""
    return f"{float(f'{value:.3g}'):,.10g}"


def main(arguments: Sequence[str] | None = None) -> None:
    shapes = {"micro-medium": MICRO_MEDIUM, **SHAPES}
    given = _parse(arguments, shapes)
    machine = Machine(operations=given.rate, bytes=given.copy, launch=given.launch, number=given.bytes)
    if given.beside is not None:
        found = json.loads(given.beside.read_text(encoding="utf-8"))
        print("| figure | reached, s | bound, s | by | reached / bound |\n|---|---|---|---|---|")
        print("\n".join(beside(found, {name: shape_of(one, rank=16) for name, one in shapes.items()}, machine)))
        return
    works = [Work(rows=rows, group=given.group, prompt=given.prompt, said=given.said) for rows in given.rows]
    print("\n".join(table(shape_of(shapes[given.shape], rank=16), machine, works, given.batch)))


def _parse(arguments: Sequence[str] | None, shapes: Mapping[str, Any]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.floors", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=shapes, default="qwen3-0.6b-shape")
    parser.add_argument("--rate", type=float, default=792e12, help="operations per second of a matrix product")
    parser.add_argument("--copy", type=float, default=4.2e12, help="bytes per second, read and written")
    parser.add_argument("--launch", type=float, default=1.3e-6, help="seconds from one kernel to the next")
    parser.add_argument("--bytes", type=int, default=2, help="of a number")
    parser.add_argument("--rows", type=int, nargs="+", default=[64, 256, 1024], help="calls")
    parser.add_argument("--group", type=int, default=8, help="calls with the same prompt")
    parser.add_argument("--prompt", type=int, default=256, help="tokens")
    parser.add_argument("--said", type=int, default=256, help="tokens")
    parser.add_argument("--batch", type=int, default=40_960, help="tokens of a micro-batch")
    parser.add_argument("--beside", type=Path, metavar="FILE", help="what python -m benchmarks.gpu has written")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
