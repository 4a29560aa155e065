"""An engine of vLLM in processes of its own: started, asked, closed. The only file here that imports vLLM, lazily."""

import os
import signal
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.config import ModelConfig
from counterpoint.errors import EngineError, SamplerError, told
from counterpoint.locate import locate
from counterpoint.samplers._folder import Place
from counterpoint.samplers._segments import OWNER, mapped_by, remove_and_forget, started_with
from counterpoint.samplers.base import Request

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The largest ranks for which vLLM can make room."""
COLDEST = 0.01
"""vLLM takes lower temperatures for this one; below `GREEDY` it takes the likeliest token."""
GREEDY = 1e-5
_LAYERS = ("qkv_proj", "o_proj", "gate_up_proj", "down_proj")
"""The layers that get room for adapters. By itself vLLM also wraps the embedding and the head of some models."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of the sampler, as a recipe gives them."""

    max_rows: int = 256
    cache_gb: float = 24.0
    tensor_parallel: int = 1
    exact: bool = False
    eager: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """The tokens of a call, and their log-probabilities in nats."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    stopped: bool
    """True if the last of them is a stop token."""


def room_for(rank: int) -> int:
    """The rank for which room must be made to hold adapters of this rank, which is at most the last of `RANKS`."""
    return next(room for room in RANKS if room >= rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The policies and calls that an engine must have room for."""

    policies: int
    rank: int
    """The largest of their adapters."""
    longest: int
    """Tokens of the longest call, prompt and reply together."""
    stops: frozenset[int]
    """The tokens that end a reply."""
    replaced: Mapping[str, Any]
    """The settings of the model that are replaced: see `stretched`."""


def arguments(model: ModelConfig, options: Options, demand: Demand) -> dict[str, Any]:
    """Those of vLLM's engine."""
    (path, found), cpu = locate(model), model.device == "cpu"
    # Each policy has its current version, and one that calls under way still name.
    slots = 2 * demand.policies
    given: dict[str, Any] = {
        "model": path,
        "revision": found.get("revision"),
        "dtype": model.dtype,
        "trust_remote_code": False,
        "seed": 0,
        "skip_tokenizer_init": True,
        # Otherwise the model's own generation settings cut the distribution, for Qwen3 at the 20 likeliest tokens.
        "generation_config": "vllm",
        # Otherwise they are those before the temperature.
        "logprobs_mode": "processed_logprobs",
        "max_model_len": demand.longest,
        "hf_overrides": dict(demand.replaced),
        "max_num_seqs": options.max_rows,
        "enable_prefix_caching": True,
        "enable_lora": True,
        "max_loras": slots,
        "max_cpu_loras": slots,
        "max_lora_rank": room_for(demand.rank),
        "lora_target_modules": list(_LAYERS),
        "worker_extension_cls": "counterpoint.samplers._served.Served",
        "tensor_parallel_size": options.tensor_parallel,
        # Given, so that nothing is measured on a GPU that a learner shares; then the share only has to be free at the
        # start, beside engines of other bases.
        "kv_cache_memory_bytes": int(options.cache_gb * 2**30),
        "gpu_memory_utilization": 0.1,
        "enforce_eager": options.eager or cpu,
        "disable_log_stats": True,
    }
    if cpu:
        # A prompt that is cut in two kills the engine there: "CPU Generator does not use offset".
        given |= {"enable_chunked_prefill": False, "max_num_batched_tokens": max(demand.longest, 2048)}
    return given


def environment(model: ModelConfig, options: Options, threads: int) -> dict[str, str]:
    """The variables with which the engine's processes start, beside those of this one."""
    found = {
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_NO_USAGE_STATS": "1",
        OWNER: str(os.getpid()),
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "ERROR"),
    }
    if options.exact:
        found["VLLM_BATCH_INVARIANT"] = "1"
    kind, _, index = model.device.partition(":")
    if kind == "cpu":
        # As many threads as this process has, on any core.
        found |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(threads)}
    elif int(index or 0):
        first, given = int(index), os.environ.get("CUDA_VISIBLE_DEVICES", "")
        seen = given.split(",") if given else [str(one) for one in range(first + options.tensor_parallel)]
        found["CUDA_VISIBLE_DEVICES"] = ",".join(seen[first : first + options.tensor_parallel])
    return found


class AsyncEngine:
    """The engine of one base. Any exception but SamplerError that it raises is its death."""

    def __init__(self, model: ModelConfig, options: Options, demand: Demand) -> None:
        """The engine is up; it has no adapter yet. Raises EngineError if vLLM does not start."""
        import torch

        given = arguments(model, options, demand)
        self._stops = sorted(demand.stops)
        self._count = 0
        mark = f"{OWNER}={os.getpid()}"
        others = started_with(mark)
        with _surrounded_by(environment(model, options, torch.get_num_threads())), _interrupts_kept_off():
            try:
                from vllm.engine.arg_utils import AsyncEngineArgs
                from vllm.v1.engine.async_llm import AsyncLLM

                self._engine: Any = AsyncLLM.from_engine_args(AsyncEngineArgs(**given))
            except Exception as error:  # whatever vLLM raises for what it cannot serve; its processes say more
                raise EngineError(f"vLLM did not start with {model.path!r}: {told(error)}") from error
        self._segments = set[Path]().union(*map(mapped_by, started_with(mark) - others))

    async def add(self, place: Place) -> None:
        """The adapter in the folder is in a slot of every worker."""
        if not await self._engine.add_lora(_lora(place)):
            raise RuntimeError(f"vLLM did not add {place.name}")

    async def prove(self, place: Place, scale: float) -> list[dict[str, str]]:
        """For each worker, what it holds: see `Served.prove_adapter`."""
        found = await self._engine.collective_rpc(
            "prove_adapter", args=(place.number, str(place.folder), scale), timeout=None
        )
        return [dict(one) for one in found]

    async def remove(self, place: Place) -> None:
        """No worker knows the adapter any more."""
        await self._engine.remove_lora(place.number)

    async def generate(self, request: Request, place: Place | None) -> Said:
        """The tokens of a call by the adapter at `place`, or by the base without one.

        Raises SamplerError for a temperature that vLLM changes.
        """
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        greedy = request.temperature < GREEDY
        if request.temperature < COLDEST and not greedy:
            raise SamplerError(f"temperature = {request.temperature:g}: vLLM samples at {COLDEST} and above")
        params = SamplingParams(
            n=1,
            temperature=0.0 if greedy else request.temperature,
            max_tokens=request.max_tokens,
            seed=request.seed,
            stop_token_ids=self._stops,
            logprobs=0,  # of the sampled token alone
            flat_logprobs=True,  # otherwise an object for each
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        self._count += 1
        prompt = {"prompt_token_ids": list(request.prompt_ids)}
        answers = self._engine.generate(prompt, params, str(self._count), lora_request=place and _lora(place))
        *_, last = [answer async for answer in answers]  # the final one alone, as the parameters ask
        return _said(last.outputs[0], greedy, self._stops)

    def close(self) -> None:
        """No process of the engine is left, nor the memory that they shared."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.shutdown()
            remove_and_forget(self._segments)


def _lora(place: Place) -> Any:
    from vllm.lora.request import LoRARequest

    return LoRARequest(place.name, place.number, str(place.folder))


def _said(output: Any, greedy: bool, stops: Collection[int]) -> Said:
    ids = tuple(output.token_ids)
    if output.finish_reason not in ("stop", "length"):
        raise RuntimeError(f"vLLM ended a call with {output.finish_reason!r}")
    found = output.logprobs
    if list(found.token_ids) != list(ids):
        raise RuntimeError("vLLM gave log-probabilities of other tokens than it generated")
    # A temperature of next to 0 leaves no other token, which vLLM does not apply to log-probabilities.
    return Said(ids, (0.0,) * len(ids) if greedy else tuple(found.logprobs), ids[-1] in stops)


@contextmanager
def _interrupts_kept_off() -> Iterator[None]:
    """Processes that are started inside do not see the Ctrl-C of the terminal: this one ends them, after its step."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _surrounded_by(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
