"""The limits of vLLM, and of this machine, found before anything is started. Imports no torch unless it must."""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from counterpoint.architectures import settings_in
from counterpoint.config import ModelConfig
from counterpoint.errors import AbsentPackageError, AbsentRoomError, ConfigError
from counterpoint.locate import locate
from counterpoint.samplers._async_llm import COLDEST, GREEDY, RANKS, Options
from counterpoint.samplers._folder import TMPFS
from counterpoint.samplers.base import Base

_SMALLEST_HEAD = 32
"""The smallest heads of vLLM's attention on a CPU."""
_CAPABILITY = (9, 0)
"""The least compute capability of a GPU on which vLLM computes a call alike whatever is beside it."""
ENGINE_TMPFS = 2**28
"""Bytes of tmpfs that an engine takes for messages between its processes, at most."""


def check_bases(bases: Sequence[Base], options: Options, temperatures: Iterable[float] = ()) -> None:
    """Raises ConfigError if vLLM cannot serve these bases and their policies, or sample at these temperatures.

    AbsentPackageError if vLLM is not installed, and AbsentRoomError if this machine cannot hold the engines. What no
    machine can serve is found first. Reads no weights, and starts nothing.
    """
    for base in bases:
        _check_base(base.config, options)
        stretched(_settings_of(base.config), base.config.path, base.longest)
        for policy, rank in base.ranks.items():
            if rank > RANKS[-1]:
                raise ConfigError(
                    f"sampler = 'vllm' cannot serve policy {policy!r} with policies.rank = {rank}; allowed: at most"
                    f" {RANKS[-1]}"
                )
    for temperature in temperatures:
        if GREEDY <= temperature < COLDEST:
            raise ConfigError(
                f"sampler = 'vllm' cannot sample at a temperature of {temperature:g}; allowed: {COLDEST} and more"
            )
    if find_spec("vllm") is None:
        raise AbsentPackageError("sampler = 'vllm': pip install 'counterpoint[vllm]' first (vllm is not installed)")
    if bases:
        check_tmpfs(len(bases))
        _check_memory([base.config for base in bases], options)
        for base in bases:
            if base.config.device != "cpu":
                _check_gpus(base.config, options)


def stretched(settings: Mapping[str, Any], path: str, longest: int) -> dict[str, Any]:
    """The settings of a model to be replaced, so that vLLM tables positions for calls of `longest` tokens.

    It makes a table for `max_position_embeddings` tokens. Without scaling the positions beyond are those that any
    length has; with scaling they need not be, and ConfigError is raised.
    """
    text = settings.get("text_config") or settings
    most = text.get("max_position_embeddings")
    if not isinstance(most, int) or longest <= most:
        return {}
    found = text.get("rope_parameters") or text.get("rope_scaling") or {}
    tables = [one for one in found.values() if isinstance(one, Mapping)] or [found]
    if any(table.get("rope_type", table.get("type", "default")) != "default" for table in tables):
        raise ConfigError(
            f"sampler = 'vllm' cannot serve model.path = {path!r} for calls of up to {longest:,} tokens"
            f" (rollout.max_prompt_tokens + rollout.max_tokens): it scales positions; allowed: at most {most:,}"
        )
    new = {"max_position_embeddings": longest}
    return new if text is settings else {"text_config": new}


def check_tmpfs(engines: int, adapters: int = 0) -> None:
    """Raises AbsentRoomError if this machine has no tmpfs for that many engines and bytes of adapters."""
    if not TMPFS.is_dir():
        raise AbsentRoomError(f"sampler = 'vllm': there is no {TMPFS}, by way of which adapters are given to it")
    free, needed = shutil.disk_usage(TMPFS).free, engines * ENGINE_TMPFS
    if needed + adapters > free:
        files = f"{adapters / 2**20:.0f} MiB" if adapters else "room"
        raise AbsentRoomError(
            f"sampler = 'vllm': {TMPFS} has {free / 2**20:.0f} MiB left, and its processes need"
            f" {needed / 2**20:.0f} MiB and {files} for adapters; make it larger, such as by --shm-size of a container"
        )


def _check_base(model: ModelConfig, options: Options) -> None:
    name, on_cpu = f"sampler = 'vllm' cannot serve model.path = {model.path!r}", model.device == "cpu"
    if model.path.endswith(".gguf"):
        raise ConfigError(f"{name}: it is a GGUF file; allowed: a folder or a hub name, or sampler = 'in_process'")
    if not on_cpu and model.dtype == "float32":
        raise ConfigError(
            f"{name} with model.dtype = 'float32' on {model.device}: its kernels for adapters need half precision;"
            " allowed: model.dtype = 'bfloat16' (with a larger run.proof_tolerance), or model.device = 'cpu'"
        )
    if on_cpu and options.exact:
        raise ConfigError("sampler.exact = true is for GPUs: on CPUs a call has the same tokens without it")
    head = _head_of(model) if on_cpu else None
    if head is not None and head < _SMALLEST_HEAD:
        raise ConfigError(f"{name} on a CPU: its heads have {head} values; allowed: {_SMALLEST_HEAD} and more")


def _check_memory(models: Sequence[ModelConfig], options: Options) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    wanted = options.cache_gb * sum(model.device == "cpu" for model in models)
    if wanted > memory:
        raise AbsentRoomError(
            f"sampler.cache_gb = {options.cache_gb:g} for each base on a CPU is {wanted:g} GiB, but this machine has"
            f" {memory:.0f} GiB of memory"
        )


def _check_gpus(model: ModelConfig, options: Options) -> None:
    import torch  # not above: on a CPU it is not asked

    first, count = int(model.device.partition(":")[2] or 0), torch.cuda.device_count()
    if first + options.tensor_parallel > count:
        raise AbsentRoomError(
            f"sampler.tensor_parallel = {options.tensor_parallel} needs as many GPUs from {model.device} on; torch"
            f" finds {count} here"
        )
    found = torch.cuda.get_device_capability(first)
    if options.exact and found < _CAPABILITY:
        raise AbsentRoomError(
            f"sampler.exact = true needs a GPU of compute capability {_CAPABILITY[0]}.{_CAPABILITY[1]} or more;"
            f" {model.device} has {found[0]}.{found[1]}"
        )
    memory = torch.cuda.get_device_properties(first).total_memory / 2**30
    if options.cache_gb > memory:
        raise AbsentRoomError(f"sampler.cache_gb = {options.cache_gb:g} is more than the {memory:.0f} GiB of the GPU")


def _head_of(model: ModelConfig) -> int | None:
    """The values of an attention head; None if the model is not on this machine, or does not say."""
    found = _settings_of(model)
    found = {**found, **(found.get("text_config") or {})}
    size, heads, width = found.get("head_dim"), found.get("num_attention_heads"), found.get("hidden_size")
    if isinstance(size, int):
        return size
    return width // heads if isinstance(width, int) and isinstance(heads, int) and heads else None


def _settings_of(model: ModelConfig) -> Mapping[str, Any]:
    """The model's own settings; none if it is not on this machine."""
    return settings_in(Path(locate(model)[0])) or {}
