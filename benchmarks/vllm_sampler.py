"""The sampler `vllm` beside vLLM itself and beside `in_process`: `python -m benchmarks.vllm_sampler --out FILE.json`.

In an environment that has vLLM. All three generate the same calls of one model with random weights, side after side.
vLLM itself has no adapters and is asked directly; the sampler serves two policies, half of the calls each. Beside the
tokens per second it measures how long new weights take to be published, and how far log-probabilities are from those of
`in_process` for the same tokens. `--tiny` shows in a minute on a CPU that it works, with a micro model.
"""

import argparse
import asyncio
import gc
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import torch

from benchmarks import _machine, _table, _work
from benchmarks._models import endless
from benchmarks._timing import in_turns, side
from benchmarks.base import Figure, Missing, Setting, Target
from counterpoint.adapter import Adapter
from counterpoint.config import ModelConfig
from counterpoint.policy import Policy
from counterpoint.runtimes.local import LocalBase
from counterpoint.samplers._async_llm import Demand, Options, arguments, environment
from counterpoint.samplers.base import Completion, Request, Sampler
from counterpoint.samplers.in_process import in_process
from counterpoint.samplers.vllm import Vllm
from counterpoint.testing.tiny import tiny_adapters

POLICIES = ("one", "two")
RANK = 16
PART_OF_RAW = Target(">=", 0.85)
AGREE = {"float32": Target("<=", 1e-4), "bfloat16": Target("<=", 0.02)}
"""Mean difference of log-probabilities, nats."""


def vllm_sampler(setting: Setting, cache_gb: float) -> Iterator[Figure]:
    size = setting.size(_work.Size(tasks=32, group=8, prompt=256, completion=256), _work.TINY)
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        config = ModelConfig(
            path=str(endless(setting, Path(name) / "model")), device=setting.device, dtype=setting.dtype
        )
        base = LocalBase(
            config,
            tuple(Policy(name=one, roles=(one,)) for one in POLICIES),
            False,
            2048,
            dict.fromkeys(POLICIES, RANK),
        )
        loop = stack.enter_context(asyncio.Runner())
        options = Options(max_rows=size.tasks * size.group, cache_gb=cache_gb)
        asked = _asked(_work.requests(size, len(base.chat.tokenizer)))
        sampler = Vllm([base], max_rows=options.max_rows, cache_gb=cache_gb)
        stack.callback(lambda: loop.run(sampler.close()))
        raw = _Raw(config, options, base.longest, base.chat.stop_ids)
        stack.callback(raw.close)
        ours = in_process([base])
        adapters = _adapters(base, setting.device)
        published = [loop.run(_loaded(sampler, adapters, version)) for version in range(1, 2 + setting.repeats)][1:]
        loop.run(ours.load(adapters))
        yield Figure(name="publish two adapters, s", values=published, facts={"rank": RANK})
        said = loop.run(_said(sampler, asked))
        taken = in_turns(
            {
                "vLLM itself": side(lambda: loop.run(raw.said(asked))),
                "vllm": side(lambda: loop.run(_said(sampler, asked))),
                "in_process": side(lambda: loop.run(_said(ours, asked))),
            },
            setting.repeats,
        )
        tokens = sum(len(one.ids) for one in said)
        for other, target in (("vLLM itself", PART_OF_RAW), ("in_process", None)):
            yield Figure(
                name=f"tokens per second of vllm / {other}",
                values=[them / mine for them, mine in zip(taken[other], taken["vllm"], strict=True)],
                target=target,
                parts={one: [tokens / seconds for seconds in taken[one]] for one in (other, "vllm")},
                facts={"calls": len(asked), "tokens": tokens},
            )
        yield _difference(setting, loop.run(_again(ours, asked, said)), said)


def _asked(requests: Sequence[Request]) -> list[Request]:
    """The same calls, shared out between the policies."""
    return [replace(one, policy=POLICIES[place % 2], temperature=1.0) for place, one in enumerate(requests)]


def _adapters(base: LocalBase, device: str) -> list[Adapter]:
    found = tiny_adapters(base.model, POLICIES, rank=RANK, scale=0.5)
    return [
        replace(one, tensors={name: 0.02 * tensor.to(device) for name, tensor in one.tensors.items()}) for one in found
    ]


async def _loaded(sampler: Sampler, adapters: Sequence[Adapter], version: int) -> float:
    """The seconds until the sampler generates with the adapters, as a version that it has not had."""
    new = [replace(one, version=version) for one in adapters]
    began = perf_counter()
    await sampler.load(new)
    return perf_counter() - began


async def _said(sampler: Sampler, asked: Sequence[Request]) -> list[Completion]:
    """The replies of calls that are all made at once, each in a session of its own."""

    async def one(request: Request) -> Completion:
        with sampler.session() as session:
            return await session.sample(request)

    return list(await asyncio.gather(*(one(request) for request in asked)))


async def _again(ours: Any, asked: Sequence[Request], said: Sequence[Completion]) -> list[list[float]]:
    """The log-probabilities that `in_process` gives the same tokens."""
    from counterpoint.episode import Call, CallKey

    calls = [
        Call(
            key=CallKey(request.policy, 0, 0), policy=request.policy, version=0, messages=(),
            prompt_ids=request.prompt_ids, completion_ids=one.ids, logprobs=one.logprobs, text="", finish="length",
            seed=request.seed, temperature=request.temperature,
        )
        for request, one in zip(asked, said, strict=True)
    ]  # fmt: skip
    found: list[list[float]] = await ours.logprobs(calls)
    return found


def _difference(setting: Setting, again: Sequence[Sequence[float]], said: Sequence[Completion]) -> Figure:
    apart = [
        abs(mine - theirs)
        for row, one in zip(again, said, strict=True)
        for mine, theirs in zip(row, one.logprobs, strict=True)
    ]
    return Figure(
        name="mean difference of log-probabilities, nats",
        values=[fmean(apart)],
        target=AGREE[setting.dtype],
        facts={"largest": max(apart), "dtype": setting.dtype},
    )


class _Raw:
    """vLLM's own engine without adapters, with everything else as the sampler has it."""

    def __init__(self, model: ModelConfig, options: Options, longest: int, stops: frozenset[int]) -> None:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        from counterpoint.samplers._async_llm import _surrounded_by

        demand = Demand(policies=1, rank=RANK, longest=longest, stops=stops, replaced={})
        given = {
            name: value
            for name, value in arguments(model, options, demand).items()
            if "lora" not in name and name != "worker_extension_cls"
        }
        self._stops = sorted(stops)
        self._count = 0
        with _surrounded_by(environment(model, options, torch.get_num_threads())):
            self._engine: Any = AsyncLLM.from_engine_args(AsyncEngineArgs(**given))

    async def said(self, asked: Sequence[Request]) -> None:
        """All calls are answered."""
        await asyncio.gather(*(self._one(request) for request in asked))

    async def _one(self, request: Request) -> None:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        self._count += 1
        params = SamplingParams(
            n=1,
            temperature=request.temperature,
            max_tokens=request.max_tokens,
            seed=request.seed,
            stop_token_ids=self._stops,
            logprobs=0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        prompt = {"prompt_token_ids": list(request.prompt_ids)}
        async for _ in self._engine.generate(prompt, params, f"raw-{self._count}"):
            pass

    def close(self) -> None:
        engine, self._engine = self._engine, None  # while Python ends it could not be shut down any more
        engine.shutdown()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vllm_sampler", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="written after each figure, as JSON")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--model", default="qwen3-0.6b-shape")
    parser.add_argument("--cache-gb", type=float, default=24.0)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args(arguments)
    setting = Setting(
        repeats=given.repeats, threads=given.threads, device=given.device, model=given.model, tiny=given.tiny
    )
    if setting.tiny:
        setting = replace(setting, device="cpu", model="micro-medium")
    torch.set_num_threads(setting.threads)
    found: list[Figure | Missing] = []
    for figure in vllm_sampler(setting, 0.5 if setting.tiny else given.cache_gb):
        found.append(figure)
        print(_table.line(figure), flush=True)
        _table.write(given.out, setting, _machine.facts(), {}, {"vllm_sampler": found})
        gc.collect()


if __name__ == "__main__":
    main()
