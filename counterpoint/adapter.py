"""A LoRA adapter: the weights of a policy beside those of its base, read and written as PEFT does.

Shapes: R rank, I inputs and O outputs of an adapted linear layer.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from counterpoint.errors import AdapterError

ADAPTER_FILE = "adapter_model.safetensors"
"""The tensors of an adapter, in its folder."""
ADAPTER_CONFIG = "adapter_config.json"
"""PEFT's settings of an adapter, in its folder."""
PEFT_PREFIX = "base_model.model."
"""Stands before the name of a module of the base in the names of an adapter's tensors."""
_A, _B = ".lora_A.weight", ".lora_B.weight"
_UNSUPPORTED = (
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "alora_invocation_tokens",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "layer_replication",
)
"""PEFT's settings with which an adapter is more than alpha / rank * B A beside each layer of its base."""
_KEEPS_BASE = (True, False, "gaussian", "eva", "orthogonal")
"""Values of PEFT's `init_lora_weights` that leave the weights of the base as they are; PiSSA and others change them."""
Sources = Mapping[str, Path | None]
"""Policy -> the folder of its adapter; None for a policy that is as it starts."""


def tensor_names(module: str) -> tuple[str, str]:
    """The names of the tensors A and B that adapt `module`, a dotted path within the base."""
    return f"{PEFT_PREFIX}{module}{_A}", f"{PEFT_PREFIX}{module}{_B}"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """The weights of a policy at a version. Its tensors are never changed in place."""

    policy: str
    version: int
    """The number of optimizer steps that led to these weights."""
    scale: float
    """The adapter adds scale * B A to the weight of each adapted layer."""
    tensors: Mapping[str, Any]
    """Name as in a PEFT file (`base_model.model.<module>.lora_A.weight`) -> torch tensor. Empty for the plain base."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """PEFT's settings, as in `adapter_config.json`. Where there are none, `write` derives the few that PEFT needs."""

    @classmethod
    def read(cls, folder: Path, *, policy: str, version: int = 0, scale: float | None = None) -> "Adapter":
        """The adapter in `folder`, on the CPU and in float32.

        Its scale is the one that `adapter_config.json` says, unless `scale` is given; then that file may be absent.
        Raises AdapterError if the folder holds no adapter, one whose scale is not alpha / rank, or one that is more
        than pairs of A and B.
        """
        tensors = read_tensors(folder)
        known = scale is None or (folder / ADAPTER_CONFIG).is_file()
        settings = _read_settings(folder) if known else {}
        scale = _scale_of(settings, folder) if scale is None else scale
        _check_pairs(tensors, settings.get("r"), folder / ADAPTER_FILE)
        return cls(policy=policy, version=version, scale=scale, tensors=tensors, settings=settings)

    @classmethod
    def base(cls, policy: str) -> "Adapter":
        """The adapter of a policy that is exactly its base."""
        return cls(policy=policy, version=0, scale=0.0, tensors={})

    def write(self, folder: Path) -> None:
        """`folder`, which is created if needed, holds the adapter; `peft` and `Adapter.read` can load it."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        save_file(tensors, folder / ADAPTER_FILE, metadata={"format": "pt"})
        settings = dict(self.settings or self._fewest_settings())
        (folder / ADAPTER_CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")

    @cached_property
    def digest(self) -> str:
        """The digest of the tensors, computed when it is first asked for."""
        return digest_of(self.tensors)

    def layers(self) -> Iterator[tuple[str, Any, Any]]:
        """For every adapted module its dotted path within the base, A (R, I) and B (O, R)."""
        for name, a_RI in self.tensors.items():
            if name.endswith(_A):
                module = name.removeprefix(PEFT_PREFIX).removesuffix(_A)
                yield module, a_RI, self.tensors[tensor_names(module)[1]]

    def _fewest_settings(self) -> dict[str, Any]:
        layers = list(self.layers())
        rank = int(layers[0][1].shape[0]) if layers else 1
        return {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": rank,
            "lora_alpha": self.scale * rank,
            "target_modules": sorted(module for module, _, _ in layers),
        }


def starting_adapter(folder: Path, *, policy: str, alpha: float, rank: int) -> Adapter:
    """The adapter in `folder`, from which a policy with this alpha and rank starts.

    Raises AdapterError as `Adapter.read`, and if its scale is not alpha / rank: the policy would start as another one.
    """
    found = Adapter.read(folder, policy=policy)
    if not math.isclose(found.scale, alpha / rank):
        raise AdapterError(
            f"policy {policy!r}: the adapter in {folder} has lora_alpha / r = {found.scale:g}, but the policy has alpha"
            f" / rank = {alpha:g} / {rank}: set its alpha to {found.scale * rank:g}"
        )
    return found


def read_tensors(folder: Path) -> dict[str, Any]:
    """Name -> float32 tensor of the adapter in `folder`, on the CPU. Raises AdapterError if there is none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return {name: tensor.float() for name, tensor in load_file(folder / ADAPTER_FILE).items()}
    except (OSError, SafetensorError) as error:
        raise AdapterError(f"{folder} holds no adapter: {error}") from error


def digest_of(tensors: Mapping[str, Any]) -> str:
    """SHA-256 over the names and the raw values of tensors: equal if and only if the weights are."""
    return digest((name, tensor.detach().cpu().contiguous().numpy().tobytes()) for name, tensor in tensors.items())


def digest(named: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 over names and raw values, in the order of the names."""
    sha = hashlib.sha256()
    for name, raw in sorted(named):
        sha.update(name.encode() + b"\0" + raw)
    return sha.hexdigest()


def _read_settings(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise AdapterError(f"{folder} holds no adapter: {ADAPTER_CONFIG}: {error}") from error


def _scale_of(settings: Mapping[str, Any], folder: Path) -> float:
    """Alpha / rank, where that is all that the settings say about it. Raises AdapterError."""
    place = folder / ADAPTER_CONFIG
    kind, start = settings.get("peft_type", "LORA"), settings.get("init_lora_weights", True)
    if kind != "LORA":
        raise AdapterError(f"{place}: peft_type = {kind!r} is not supported; allowed: 'LORA'")
    for option in _UNSUPPORTED:
        if settings.get(option):
            raise AdapterError(f"{place}: {option} = {settings[option]!r} is not supported")
    if start not in _KEEPS_BASE:
        raise AdapterError(
            f"{place}: init_lora_weights = {start!r} is not supported, since PEFT changes the weights of the base too;"
            f" allowed: {', '.join(map(repr, _KEEPS_BASE))}"
        )
    try:
        return float(settings["lora_alpha"]) / int(settings["r"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise AdapterError(f"{place} does not say lora_alpha and r of a LoRA adapter: {error!r}") from error


def _check_pairs(tensors: Mapping[str, Any], rank: int | None, place: Path) -> None:
    """Raises AdapterError unless the tensors are pairs A (R, I) and B (O, R) of numbers, at least one, of this rank."""
    if not tensors:
        raise AdapterError(f"{place} holds no tensors")
    for name, tensor in tensors.items():
        pair = tensor_names(name.removeprefix(PEFT_PREFIX).removesuffix(_A).removesuffix(_B))
        if name not in pair:
            raise AdapterError(f"{place} holds {name!r}, but only {PEFT_PREFIX}<layer>{_A} and {_B} are supported")
        lacking = [one for one in pair if one not in tensors]
        if lacking:
            raise AdapterError(f"{place} holds {name!r}, but lacks {lacking[0]!r}")
        a, b = (tuple(tensors[one].shape) for one in pair)
        if len(a) != 2 or len(b) != 2 or a[0] != b[1] or rank not in (None, a[0]):
            of = "" if rank is None else f" of r = {rank}"
            raise AdapterError(f"{place}: {pair[0]!r} of shape {a} and its lora_B of shape {b} are no pair{of}")
        if not tensor.isfinite().all():
            raise AdapterError(f"{place}: {name!r} has values that are no numbers, or infinite")
