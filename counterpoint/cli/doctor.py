"""`counterpoint doctor`."""

import asyncio
import inspect
import os
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

import torch
from rich.console import Console

from counterpoint.base_model import load_base_model
from counterpoint.config import Config, ModelConfig
from counterpoint.errors import CounterpointError, SandboxError
from counterpoint.interventions import INTERVENTIONS
from counterpoint.models import MICRO_MODELS
from counterpoint.plan.threads import rates, slow
from counterpoint.recipe import load_config, recipes
from counterpoint.sandboxes import build_sandbox
from counterpoint.sandboxes._canaries import CANARIES
from counterpoint.sandboxes.base import Tier

PACKAGES = ("torch", "transformers", "peft", "safetensors", "polars", "pydantic", "scipy", "numpy")
EXTRAS: Mapping[str, tuple[str, str]] = {
    "data": ("datasets", "data sets of a hub"),
    "endpoint": ("openai", "roles that a server plays"),
    "gguf": ("gguf", "GGUF files"),
    "gym": ("reasoning-gym", "the tasks of reasoning-gym"),
    "mlflow": ("mlflow-skinny", "the tracker mlflow"),
    "ray": ("ray", "samplers and learners on several GPUs or machines"),
    "report": ("altair", "pictures, reports and the viewer"),
    "tensorboard": ("tensorboardX", "the tracker tensorboard"),
    "trackio": ("trackio", "the tracker trackio"),
    "vllm": ("vllm", "the sampler vllm"),
    "wandb": ("wandb", "the tracker wandb"),
    "verifiers": ("verifiers", "the environments of verifiers"),
}
"""Extra -> the package that it installs, and its use."""
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def examine() -> int:
    """Print one line per check; 0 if nothing is wrong, else 1."""
    console = Console(highlight=False, emoji=False)
    checks: list[Callable[[], tuple[bool, str]]] = [_python, _packages, _extras, _memory, _threads, _accelerator]
    checks += [partial(_micro_model, name) for name in MICRO_MODELS]
    checks += [_recipes, _sandbox]
    all_good = True
    for check in checks:
        good, text = check()
        all_good = all_good and good
        console.print(f"[{'green' if good else 'red'}]{'ok     ' if good else 'PROBLEM'}[/] ", end="")
        console.print(text, markup=False, soft_wrap=True)
    return 0 if all_good else 1


def print_interventions() -> None:
    """Print every intervention: its name, its options with their defaults, and what it does."""
    console = Console(highlight=False, emoji=False)
    for name, member in INTERVENTIONS.shipped().items():
        parameters = inspect.signature(member).parameters.values()
        options = ", ".join(
            f"{one.name}" if one.default is inspect.Parameter.empty else f"{one.name} = {one.default}"
            for one in parameters
        )
        console.print(f"{name}: {options}", markup=False, soft_wrap=True)
        console.print(f"  {' '.join((inspect.getdoc(member) or '').split())}\n", markup=False, soft_wrap=True)


def _python() -> tuple[bool, str]:
    return sys.version_info >= (3, 11), f"Python {platform.python_version()} (3.11 or later) on {platform.platform()}"


def _packages() -> tuple[bool, str]:
    return True, ", ".join(f"{name} {version(name)}" for name in ("counterpoint", *PACKAGES))


def _extras() -> tuple[bool, str]:
    told = (f"{extra} ({use}): {_installed(package, extra)}" for extra, (package, use) in EXTRAS.items())
    return True, f"extras: {'; '.join(told)}"


def _installed(package: str, extra: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"not installed, pip install 'counterpoint[{extra}]'"


def _memory() -> tuple[bool, str]:
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES") / 2**30
    return free > 1, f"{free:.1f} GiB of memory free"


def _threads() -> tuple[bool, str]:
    cores = len(os.sched_getaffinity(0))
    one, all_of_them = rates(cores)
    text = f"{cores} cores: {one / 1e9:.0f} GFLOP/s with 1 thread, {all_of_them / 1e9:.0f} with {cores}"
    if slow(one, all_of_them, cores) is None:
        return True, text
    return True, f"{text}: other work keeps the cores busy, so a run that starts now uses 1 thread"


def _accelerator() -> tuple[bool, str]:
    if torch.cuda.is_available():
        return True, f"CUDA device: {torch.cuda.get_device_name()} (model.device=cuda)"
    return about_missing_gpu(torch.version.cuda, Path("/proc/driver/nvidia/version").exists(), _gpu_packages())


def _gpu_packages() -> list[str]:
    names = {found.metadata["Name"] for found in distributions()}
    return sorted(name for name in names if name and name.startswith(("nvidia-", "triton")))


def about_missing_gpu(cuda: str | None, has_driver: bool, packages: Sequence[str]) -> tuple[bool, str]:
    """A line for a machine whose GPU, if any, torch cannot use; `cuda` is the version that torch was built for."""
    if has_driver:
        build = f"built for CUDA {cuda}" if cuda else "a build for CPUs"
        return False, f"this machine has an NVIDIA driver, but torch, {build}, finds no device: pytorch.org/get-started"
    text = "no CUDA device: micro models train in minutes, larger ones slowly"
    if cuda is None:
        return True, text
    mend = f"pip install --force-reinstall --no-deps torch --index-url {CPU_INDEX}"
    rest = f", then pip uninstall -y {' '.join(packages)}" if packages else ""
    return True, f"{text}; torch is a build for CUDA {cuda}, which takes gigabytes for nothing: {mend}{rest}"


def _micro_model(name: str) -> tuple[bool, str]:
    try:
        base = load_base_model(ModelConfig(path=name))
    except CounterpointError as error:
        return False, f"{name}: {error}"
    return True, f"{name}: {sum(parameter.numel() for parameter in base.model.parameters()):,} parameters, loads"


def _sandbox() -> tuple[bool, str]:
    """Start the default sandbox and run its canaries."""

    async def start() -> tuple[Tier, str]:
        sandbox = build_sandbox(Config().sandbox)
        try:
            return await sandbox.start(), sandbox.facts()["layers"]
        finally:
            await sandbox.close()

    try:
        tier, layers = asyncio.run(start())
    except SandboxError as error:
        return False, f"sandbox: {error}"
    return (
        True,
        f"sandbox: programs of code tasks are confined by {layers}: tier {tier}; {len(CANARIES)} canaries caught",
    )


def _recipes() -> tuple[bool, str]:
    paths = recipes()
    for name, path in paths.items():
        try:
            load_config(path)
        except CounterpointError as error:
            return False, f"recipe {name}: {error}"
    return bool(paths), f"recipes: {', '.join(paths) or 'none found'}"
