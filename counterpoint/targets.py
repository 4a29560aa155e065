"""The layers of a base model that get adapters, and those that stay as they are. It needs no weights."""

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from transformers.pytorch_utils import Conv1D

_LIKE_LINEAR = ("FalconLinear", "AdaptedLinear", "AdaptedConv1D")
"""Subclasses that compute what their parents compute."""
_CHOOSING = re.compile(r"(^|\.)(gate|indexer|altup)(\.|$)|router", re.IGNORECASE)
"""Modules that choose experts or tokens: the choice has no gradient, and the adapters would act through it alone."""
_OTHER_SENSES = re.compile(
    r"(^|[._])(vision|visual|image|img|audio|speech|multi_modal|connector|embed_tokens_extend)", re.IGNORECASE
)
"""Parts of a model that do not read text, which a few models keep within their decoder."""
_EXPERTS_PER_TOKEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "top_k_experts", "moe_top_k")
_EXPERTS = re.compile(r"(^|\.)\w*experts(\.|$)")
_NOT_FOR_PEFT = ("falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h")
"""Model types whose `out_proj` PEFT refuses: fused kernels read its weight, not its output."""

_RENAMED = {"laguna": re.compile(r"shared_experts")}
"""Model type -> the layers whose adapters PEFT renames when it loads them, so that it would not find them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """The layers of a base model that get adapters, and the other parts of it that have weights."""

    layers: Mapping[str, tuple[int, int]]
    """The path of an adapted layer within the model -> its inputs and outputs."""
    transposed: bool
    """True if the layers store their weights as (inputs, outputs), as those of GPT-2 do."""
    left_out: Mapping[str, int]
    """A part that is not adapted, such as "experts" -> its parameters."""
    parameters: int
    """All parameters of the model."""
    idle: int
    """Parameters of experts that a token does not pass through, on average."""

    @property
    def adapted(self) -> str:
        """The adapted layers, such as "q_proj, v_proj (24 each); gate_proj (1)"."""
        counts: dict[str, int] = {}
        for path in self.layers:
            name = _short(path)
            counts[name] = counts.get(name, 0) + 1
        by_count: dict[int, list[str]] = {}
        for name, count in counts.items():
            by_count.setdefault(count, []).append(name)
        return "; ".join(
            f"{', '.join(names)} ({count}{' each' if len(names) > 1 else ''})" for count, names in by_count.items()
        )

    @property
    def not_adapted(self) -> str:
        """The other parts with the percentage of the model's parameters that they hold; empty if there are none."""
        return ", ".join(f"{name} ({_percent(size / self.parameters)})" for name, size in self.left_out.items())


def targets_of(model: Any) -> Targets:
    """The layers of `model`, which may be on the meta device and has no adapters yet, that get adapters.

    They are the linear layers of its text decoder without its head. Left out are layers that only choose experts or
    tokens, layers whose weight the layer around them multiplies by itself, such as Mamba's `dt_proj`, because it would
    skip an adapter, and layers that share their weight, because a merged adapter would act in all of them.
    """
    head, decoder = model.get_output_embeddings(), _decoder(model)
    within = {id(module) for module in decoder.modules()}
    every = dict(model.named_modules(remove_duplicate=False))
    used = Counter(id(module.weight) for module in every.values() if isinstance(module, torch.nn.Linear))
    layers: dict[str, tuple[int, int]] = {}
    left_out: dict[str, int] = {}
    transposed = False
    for path, module in model.named_modules():
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        if not own or module is head or isinstance(module, torch.nn.Embedding):
            continue
        if id(module) not in within or _OTHER_SENSES.search(path):
            _add(left_out, _outside(path, module), own)
        elif (why := _why_not(path, module, model.config.model_type)) is not None:
            _add(left_out, why, own)
        elif is_adaptable(module) and used[id(module.weight)] > 1:
            _add(left_out, "layers that share weights", own)
        elif is_adaptable(module) and _skipped(every, path):
            _add(left_out, _short(path), own)
        elif is_adaptable(module):
            layers[path] = sizes_of(module)
            transposed = transposed or isinstance(module, Conv1D)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Targets(
        layers=layers,
        transposed=transposed,
        left_out=left_out,
        parameters=parameters,
        idle=_idle(model),
    )


def is_adaptable(module: Any) -> bool:
    """True if `module` computes x W^T + bias, or x W + bias as the layers of GPT-2 do, and nothing else."""
    if type(module) in (torch.nn.Linear, Conv1D):
        return True
    return isinstance(module, torch.nn.Linear | Conv1D) and type(module).__name__ in _LIKE_LINEAR


def sizes_of(layer: Any) -> tuple[int, int]:
    """The numbers of inputs and of outputs of an adaptable layer."""
    outputs, inputs = layer.weight.shape[::-1] if isinstance(layer, Conv1D) else layer.weight.shape
    return int(inputs), int(outputs)


def _decoder(model: Any) -> Any:
    """The text decoder, which for a few models is not what `get_decoder` returns."""
    found = model.get_decoder()
    return model.base_model if found is None or found is model.get_output_embeddings() else found


def _why_not(path: str, module: Any, kind: str) -> str | None:
    """The part to which a module of the decoder belongs that is not adapted; None if it is adapted or has to be."""
    if _EXPERTS.search(path) and not is_adaptable(module):
        return "experts"
    if _CHOOSING.search(path):
        return "router" if re.search(r"(^|\.)gate(\.|$)|router", path, re.IGNORECASE) else _short(path).split(".")[0]
    if isinstance(module, torch.nn.Linear) and not is_adaptable(module):
        return _short(path)
    if kind in _NOT_FOR_PEFT and path.endswith(".out_proj"):
        return "out_proj"
    if kind in _RENAMED and (found := _RENAMED[kind].search(path)):
        return found[0]
    return None


def _skipped(every: Mapping[str, Any], path: str) -> bool:
    """True if the module around this layer uses its weight and not its output."""
    around, _, name = path.rpartition(".")
    return bool(re.search(rf"self\.{name}\.weight\s*@", _source(every[around].__class__)))


@cache
def _source(kind: type) -> str:
    """The source of a class; empty if it is not on this machine, or the class is built in."""
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):
        return ""


def _short(path: str) -> str:
    """The last part of a path, after the name of the part of the layer if that says more."""
    *before, last = path.split(".")
    named = [part for part in before if "shared" in part or part in ("indexer", "altup")]
    return f"{named[-1]}.{last}" if named else last


def _outside(path: str, module: Any) -> str:
    """The name of a part outside the text decoder."""
    parts = [part for part in path.split(".") if part not in ("", "model", "transformer")]
    name = parts[0] if parts else str(next(name for name, _ in module.named_parameters(recurse=False)))
    return "images and sound" if _OTHER_SENSES.search(f"{path}.{name}") else name


def _add(found: dict[str, int], name: str, count: int) -> None:
    found[name] = found.get(name, 0) + count


def _idle(model: Any) -> int:
    config = model.config.get_text_config()
    chosen = next((value for name in _EXPERTS_PER_TOKEN if isinstance(value := getattr(config, name, None), int)), None)
    if chosen is None:
        return 0
    return sum(parameter.numel() * max(0, len(parameter) - chosen) // len(parameter) for parameter in _expert(model))


def _expert(model: Any) -> Iterator[Any]:
    """The parameters whose first dimension counts experts."""
    for path, parameter in model.named_parameters():
        if _EXPERTS.search(path) and "shared" not in path and parameter.dim() >= 3:
            yield parameter


def _percent(share: float) -> str:
    return f"{share:.0%} of the parameters" if share >= 0.01 else "under 1% of the parameters"
