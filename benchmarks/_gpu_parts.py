"""The parts of `benchmarks/gpu.py`: each gives its figures as they are measured."""

import gc
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import torch

from benchmarks import _work, floors
from benchmarks._machine import peak_memory, peak_rate
from benchmarks._models import SHAPES, config_of, random_model
from benchmarks._plain import PlainLearner
from benchmarks._sides import Ours
from benchmarks._timing import in_turns, side
from benchmarks.base import Figure, Setting, Target
from benchmarks.floor import Cost, cost_of, operations
from benchmarks.learning import SAME, difference
from counterpoint.algorithms.base import Sample
from counterpoint.config import ModelConfig
from counterpoint.episode import Call, CallKey
from counterpoint.learners.footprint import footprint
from counterpoint.learners.footprint import learning as learning_bytes
from counterpoint.samplers.base import Completion, Request

PART_OF_THE_PEAK = {"qwen3-0.6b-shape": Target(">=", 0.35), "qwen3-1.7b-shape": Target(">=", 0.45)}
TOKENS_PER_SECOND = Target(">=", 25_000)
PROMISED = {"least": Target(">=", 0.8), "most": Target("<=", 1.2)}
WAVE = _work.Size(tasks=32, group=8, prompt=256, completion=256)
AGREE = {"float32": Target("<=", 1e-4), "bfloat16": Target("<=", 0.02)}
"""Mean difference of log-probabilities, nats."""
_COPIED = 2**31
"""Bytes."""
_SHOWN = 25
"""Kernels of a profile."""


class Bench:
    """What the parts share: the sides of one shape at a time, and the rate of a matrix product."""

    def __init__(self) -> None:
        self._ours: tuple[str, Ours, Cost] | None = None
        self._rate: float | None = None

    def ours(self, shape: str, setting: Setting) -> tuple[Ours, Cost]:
        """The sides of a shape, and what a token costs without an adapter. Those of the shape before are freed."""
        if self._ours is None or self._ours[0] != shape:
            self.forget()
            model = random_model(SHAPES[shape], setting.device, setting.dtype)
            cost, warm = cost_of(model), _work.single(_work.TINY, model.config.vocab_size)
            self._ours = shape, Ours(model, setting, warm, batch=_work.ALONE_ON_A_GPU), cost
        return self._ours[1:]

    def rate(self, setting: Setting) -> float:
        """Operations per second, measured once."""
        if self._rate is None:
            self._rate = peak_rate(setting)
        return self._rate

    def forget(self) -> None:
        self._ours = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def speed(setting: Setting) -> Iterator[Figure]:
    """Of the machine itself."""
    rates = [peak_rate(setting) / 1e12 for _ in range(setting.repeats)]
    yield Figure(name="matrix product, TFLOP/s", values=rates, facts={"dtype": setting.dtype})
    one = torch.zeros(setting.size(_COPIED, 2**20), dtype=torch.uint8, device=setting.device)
    other = torch.empty_like(one)
    copy = in_turns({"copy": side(lambda: other.copy_(one))}, 5)["copy"]
    yield Figure(name="copy, TB/s", values=[2 * one.numel() / taken / 1e12 for taken in copy])


def learning(bench: Bench, setting: Setting, shape: str, *, tasks: int) -> Iterator[Figure]:
    """Gradients of voting, beside the peak; the memory that they take, beside the memory that is promised."""
    name, shape = shape, setting.size(shape, setting.model)
    rate = bench.rate(setting)
    ours, cost = bench.ours(shape, setting)
    samples = _work.voting(setting.size(replace(_work.LARGE, tasks=tasks), _work.TINY), SHAPES[shape]["vocab_size"])
    (adapter,) = ours.learner.adapters()
    whole = replace(cost, adapter=sum(tensor.numel() for tensor in adapter.tensors.values()))
    needed = operations([(one.call.prompt_ids, one.tokens) for one in samples], whole.learn)
    facts = facts_of(samples, ours)
    least = floors.learner_of(floors.shape_of(SHAPES[shape], rank=ours.config.policies.rank), 2, facts).operations
    _forget_the_peak(setting)
    work = side(partial(ours.backward, samples))
    first = work()
    seconds = in_turns({"ours": work}, setting.repeats, warm=0)["ours"]
    taken = peak_memory()
    yield Figure(
        name=f"{name}: part of the peak",
        values=[needed / one / rate for one in seconds],
        target=PART_OF_THE_PEAK[name],
        parts={
            "each prefix once": [least / one / rate for one in seconds],
            "ours, s": seconds,
            "first, s": [first],
            "packed tokens/s": [facts["packed_tokens"] / one for one in seconds],
            "completion tokens/s": [facts["predicted"] / one for one in seconds],
            "TFLOP/s": [needed / one / 1e12 for one in seconds],
            "peak, TFLOP/s": [rate / 1e12],
        },
        facts={"operations": needed, **facts},
    )
    promised = promised_bytes(shape, setting, [one.call for one in samples], ours)
    yield Figure(
        name=f"{name}: memory promised / taken",
        values=[promised / taken],
        target=PROMISED["least" if promised < taken else "most"],
        parts={"promised, GiB": [promised / 2**30], "taken, GiB": [taken / 2**30]},
    )


def facts_of(samples: Sequence[Sample], ours: Ours) -> dict[str, int]:
    """What the floor model needs to know of some samples."""
    tokens, pairs = _work.packed(samples)
    return {
        "calls": len(samples),
        "packed_tokens": tokens,
        "pairs": pairs,
        "predicted": sum(one.tokens for one in samples),
        "micro_batch": ours.config.learner.max_tokens_per_micro_batch,
    }


def promised_bytes(shape: str, setting: Setting, calls: Sequence[Call], ours: Ours) -> int:
    """The memory that `--dry-run` counts for a learner with one policy, beside a sampler, at these calls."""
    with tempfile.TemporaryDirectory() as folder:
        config_of(SHAPES[shape], setting.dtype).save_pretrained(folder)
        model = ModelConfig(path=str(Path(folder)), device=setting.device, dtype=setting.dtype)
        size = footprint(model, ours.config.policies.rank, checkpointing=False)
    roles = [list(said) for _, said in groupby(sorted(calls, key=_role), key=_role)]
    limit = ours.config.learner.max_tokens_per_micro_batch
    passing = max(learning_bytes(size, said, limit) for said in roles)
    return size.weights + (4 + len(roles) + 2) * size.adapter + passing


def sampling(bench: Bench, setting: Setting, shape: str) -> Iterator[Figure]:
    """A wave of one policy, and the same wave of two."""
    shape = setting.size(shape, setting.model)
    ours, _ = bench.ours(shape, setting)
    (adapter,) = ours.learner.adapters()
    ours.engine.load([adapter, replace(adapter, policy="other")])
    requests = _work.requests(setting.size(WAVE, _work.TINY), SHAPES[shape]["vocab_size"])
    half = len(requests) // 2
    shared = [*requests[:half], *(replace(request, policy="other") for request in requests[half:])]
    tokens = sum(request.max_tokens for request in requests)
    both = {"one": requests, "two": shared}
    _forget_the_peak(setting)
    seconds = in_turns({name: side(partial(ours.sample, asked)) for name, asked in both.items()}, setting.repeats)
    taken = peak_memory()
    yield Figure(
        name=f"{len(requests)} rows, one policy: tokens/s",
        values=[tokens / one for one in seconds["one"]],
        target=TOKENS_PER_SECOND,
        parts={"ours, s": seconds["one"], "peak, GiB": [taken / 2**30]},
        facts={
            "tokens": tokens,
            "rows": len(requests),
            "prompts": len({request.prompt_ids for request in requests}),
            "prompt": round(fmean(len(request.prompt_ids) for request in requests)),
            "said": requests[0].max_tokens,
        },
    )
    yield Figure(
        name=f"{len(requests)} rows: two policies / one, s",
        values=[two / one for one, two in zip(seconds["one"], seconds["two"], strict=True)],
        target=Target("<=", 1.15),
        parts={"two, s": seconds["two"], "tokens/s": [tokens / one for one in seconds["two"]]},
    )


def equality(bench: Bench, setting: Setting, shape: str) -> Iterator[Figure]:
    """What sampler and learner say of the same tokens, and our gradient beside the plain one."""
    shape = setting.size(shape, setting.model)
    ours, _ = bench.ours(shape, setting)
    vocabulary = SHAPES[shape]["vocab_size"]
    ours.publish()
    size = setting.size(_work.Size(tasks=4, group=4, prompt=96, completion=64), _work.TINY)
    requests = _work.requests(size, vocabulary)
    calls = [_call(asked, said) for asked, said in zip(requests, ours.engine.compute(requests), strict=True)]
    learned = ours.learner.logprobs(calls)
    for who, rows in {
        "generated": [call.logprobs for call in calls],
        "scored": ours.engine.logprobs(calls),
        "of the base": ours.learner.base_logprobs(calls),
    }.items():
        apart = [abs(a - b) for one, other in zip(rows, learned, strict=True) for a, b in zip(one, other, strict=True)]
        yield Figure(
            name=f"log-probabilities, {who} and learned: mean difference, nats",
            values=[fmean(apart)],
            target=None if who == "of the base" else AGREE[setting.dtype],
            parts={"largest": [max(apart)]},
        )
    (adapter,) = ours.learner.adapters()
    plain = PlainLearner(random_model(SHAPES[shape], setting.device, setting.dtype), adapter, max_tokens=_work.ON_A_GPU)
    for name, told in _work.SHAPES.items():
        samples = told(size if setting.tiny else replace(size, tasks=1), vocabulary)
        yield Figure(
            name=f"{name}: difference of the gradients",
            values=[difference(ours, plain, samples)],
            target=SAME[setting.dtype],
        )


def profile(bench: Bench, setting: Setting, shape: str) -> Iterator[Figure]:
    """Where the time of the kernels goes, in learning and in sampling."""
    shape = setting.size(shape, setting.model)
    ours, _ = bench.ours(shape, setting)
    ours.publish()
    vocabulary = SHAPES[shape]["vocab_size"]
    samples = _work.voting(setting.size(replace(_work.LARGE, tasks=4), _work.TINY), vocabulary)
    requests = _work.requests(setting.size(replace(WAVE, completion=32), _work.TINY), vocabulary)
    for name, work in {
        "learning": partial(ours.backward, samples),
        "sampling": partial(ours.sample, requests),
    }.items():
        work()
        yield _profiled(name, work, setting)


def _profiled(name: str, work: Any, setting: Setting) -> Figure:
    from torch.profiler import ProfilerActivity

    on_a_gpu = setting.device != "cpu"
    kinds = [ProfilerActivity.CUDA] if on_a_gpu else [ProfilerActivity.CPU]
    began = perf_counter()
    with torch.profiler.profile(activities=kinds) as profiler:
        side(work)()
    wall = perf_counter() - began
    taken = {
        one.key[:80]: (one.self_device_time_total if on_a_gpu else one.self_cpu_time_total, one.count)
        for one in profiler.key_averages()
        if not on_a_gpu or one.self_device_time_total  # and not the calls that start kernels
    }
    longest = sorted(taken.items(), key=lambda pair: -pair[1][0])[:_SHOWN]
    return Figure(
        name=f"{name}: seconds in kernels",
        values=[sum(time for time, _ in taken.values()) / 1e6],
        parts={"wall, s": [wall], "kernels": [sum(count for _, count in taken.values())]},
        facts={"longest": [[kernel, time / 1e6, count] for kernel, (time, count) in longest]},
    )


def _call(asked: Request, said: Completion) -> Call:
    return Call(
        key=CallKey("generator", 0, 0),
        policy=asked.policy,
        version=said.version,
        messages=(),
        prompt_ids=asked.prompt_ids,
        completion_ids=said.ids,
        logprobs=said.logprobs,
        text="",
        finish=said.finish,
        seed=asked.seed,
        temperature=asked.temperature,
    )


def _role(call: Call) -> str:
    return call.key.role


def _forget_the_peak(setting: Setting) -> None:
    if setting.device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
