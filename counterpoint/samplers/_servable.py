"""What vLLM cannot serve, or not on this machine: said before anything is started. Imports no torch unless it must."""

import os
import shutil
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

from counterpoint.architectures import settings_in
from counterpoint.config import ModelConfig
from counterpoint.errors import AbsentPackageError, AbsentRoomError, ConfigError
from counterpoint.locate import locate
from counterpoint.samplers._async_llm import COLDEST, RANKS, Options
from counterpoint.samplers._folder import TMPFS

_SMALLEST_HEAD = 32
"""The smallest heads of vLLM's attention on a CPU."""
_CAPABILITY = (9, 0)
"""The least compute capability of a GPU on which vLLM computes a call alike whatever is beside it."""
ENGINE_TMPFS = 2**28
"""Bytes of tmpfs that an engine takes for messages between its processes, at most."""


def check_servable(model: ModelConfig, options: Options, rank: int, temperatures: Iterable[float] = ()) -> None:
    """Raises ConfigError if vLLM cannot serve adapters of this rank on this base, on whichever machine.

    AbsentPackageError if vLLM is not installed.
    """
    name, on_cpu = f"sampler = 'vllm' cannot serve model.path = {model.path!r}", model.device == "cpu"
    if find_spec("vllm") is None:
        raise AbsentPackageError("sampler = 'vllm': pip install 'counterpoint[vllm]' first (vllm is not installed)")
    if model.path.endswith(".gguf"):
        raise ConfigError(f"{name}: it is a GGUF file; allowed: a folder or a hub name, or sampler = 'in_process'")
    if not on_cpu and model.dtype == "float32":
        raise ConfigError(
            f"{name} with model.dtype = 'float32' on {model.device}: its kernels for adapters need half precision;"
            " allowed: model.dtype = 'bfloat16' (with a larger run.proof_tolerance), or model.device = 'cpu'"
        )
    if rank > RANKS[-1]:
        raise ConfigError(f"sampler = 'vllm' cannot serve adapters of rank {rank}; allowed: at most {RANKS[-1]}")
    if on_cpu and options.exact:
        raise ConfigError("sampler.exact = true is for GPUs: on a CPU a call has the same tokens without it")
    for temperature in temperatures:
        if temperature < COLDEST:
            raise ConfigError(f"sampler = 'vllm' cannot sample at a temperature of {temperature:g}; allowed: {COLDEST}")
    head = _head_of(model) if on_cpu else None
    if head is not None and head < _SMALLEST_HEAD:
        raise ConfigError(f"{name} on a CPU: its heads have {head} values; allowed: {_SMALLEST_HEAD} and more")


def check_here(model: ModelConfig, options: Options, adapters: int = 0) -> None:
    """Raises AbsentRoomError if this machine cannot hold the engine of a base and `adapters` bytes of adapters."""
    if not TMPFS.is_dir():
        raise AbsentRoomError(f"sampler = 'vllm': there is no {TMPFS}, by way of which adapters are given to it")
    free = shutil.disk_usage(TMPFS).free
    if adapters + ENGINE_TMPFS > free:
        raise AbsentRoomError(
            f"sampler = 'vllm': {TMPFS} has {free / 2**20:.0f} MiB left, and adapters and engine need"
            f" {(adapters + ENGINE_TMPFS) / 2**20:.0f} MiB; make it larger, such as by --shm-size of a container"
        )
    if model.device == "cpu":
        _check_memory(options)
    else:
        _check_gpus(model, options)


def _check_memory(options: Options) -> None:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    if options.cache_gb > memory:
        raise AbsentRoomError(
            f"sampler.cache_gb = {options.cache_gb:g} is more than the {memory:.0f} GiB of memory of this machine"
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
    found = settings_in(Path(locate(model)[0])) or {}
    found = {**found, **(found.get("text_config") or {})}
    size, heads, width = found.get("head_dim"), found.get("num_attention_heads"), found.get("hidden_size")
    if isinstance(size, int):
        return size
    return width // heads if isinstance(width, int) and isinstance(heads, int) and heads else None
