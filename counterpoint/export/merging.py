"""A policy as one model: its base with the adapter added in float32, rounded once, and what the rounding loses."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import GenerationConfig
from transformers.utils import logging

from counterpoint.base_model import DTYPES, load_base_model
from counterpoint.config import ModelConfig

_FIRST = ("eos_token_id", "bos_token_id", "pad_token_id", "do_sample")
"""Settings that others are kept beside."""
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "top_h")
"""Settings that transformers allows with `do_sample = true` only."""


@dataclass(frozen=True, slots=True)
class Rounding:
    """The effect on an adapter's change of the weights when the sum is rounded to a data type."""

    dtype: str
    lost: float
    """The sum of |change - rounded change| over all adapted weights, as a fraction of the sum of |change|."""
    unchanged: float
    """The fraction of the adapted weights that are the base's after rounding, of those that the adapter changes."""

    def __str__(self) -> str:
        return (
            f"rounding to {self.dtype} loses {100 * self.lost:.2f} % of the adapter's change of the weights and leaves"
            f" {100 * self.unchanged:.2f} % of the weights that it changes as they are in the base"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """A model that holds the policy by itself."""

    model: Any
    rounding: Rounding
    notes: tuple[str, ...]
    """One line for each generation setting that could not be kept as it is."""

    def save(self, folder: Path) -> None:
        """`folder` holds the weights, the settings of the model and its generation settings."""
        self.model.save_pretrained(str(folder))


def merge(config: ModelConfig, adapter: Path, stop_ids: Sequence[int], dtype: str) -> Merged:
    """The base that the policy was trained on plus the adapter in the folder. Raises ModelError."""
    # In the data type of the recipe first: the policy was trained on the base as it is in that.
    base = load_base_model(config.model_copy(update={"device": "cpu"})).model.float()
    with warnings.catch_warnings():
        # PEFT still asks transformers by this name, and no user of ours can change that.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        adapted = PeftModel.from_pretrained(base, str(adapter))
    rounding = _rounding(adapted, dtype)
    model = adapted.merge_and_unload().to(DTYPES[dtype])
    return Merged(model=model, rounding=rounding, notes=savable(model, stop_ids))


@torch.no_grad()
def _rounding(adapted: Any, dtype: str) -> Rounding:
    whole = lost = 0.0
    changed = unchanged = 0
    for layer in adapted.modules():
        if isinstance(layer, LoraLayer):
            own = layer.get_param() if hasattr(layer, "get_param") else layer.get_base_layer().weight
            for name in layer.active_adapters:
                delta = layer.get_delta_weight(name)
                rounded = (own + delta).to(DTYPES[dtype])
                whole += float(delta.double().abs().sum())
                lost += float((delta.double() - (rounded.double() - own.double())).abs().sum())
                changed += int(delta.count_nonzero())
                unchanged += int(((rounded == own) & (delta != 0)).sum())
    return Rounding(dtype, lost / whole if whole else 0.0, unchanged / changed if changed else 0.0)


def savable(model: Any, stop_ids: Sequence[int]) -> tuple[str, ...]:
    """The model's generation settings name these stop tokens, and can be saved; a line for each other change of them.

    transformers loads settings that contradict each other, but does not save them.
    """
    with _quiet():
        notes = _without_own(model.config)
        given = model.generation_config
        given.eos_token_id = list(stop_ids)
        if _is_valid(given):
            return notes
        table = {name: value for name, value in given.to_diff_dict().items() if name != "transformers_version"}
        drawn = [name for name in _SAMPLING if name in table]
        if drawn and not given.do_sample:
            notes += (f"generation settings: do_sample = true, because {', '.join(drawn)} cannot be saved without it",)
            table["do_sample"] = True
        kept: dict[str, Any] = {}
        for name in sorted(table, key=lambda name: name not in _FIRST):
            if _is_valid_with({**kept, name: table[name]}):
                kept[name] = table[name]
            else:
                notes += (f"generation settings: without {name} = {table[name]!r}, which transformers does not save",)
        model.generation_config = GenerationConfig(**kept)
    return notes


def _without_own(config: Any) -> tuple[str, ...]:
    """The settings of the model hold none of generation, where transformers does not save them."""
    found = config._get_generation_parameters()
    for name in found:
        setattr(config, name, None)
    return tuple(
        f"settings of the model: without {name} = {value!r}, which is no such" for name, value in found.items()
    )


def _is_valid_with(table: Mapping[str, Any]) -> bool:
    try:
        return _is_valid(GenerationConfig(**table))
    except (ValueError, TypeError):
        return False


def _is_valid(settings: GenerationConfig) -> bool:
    try:
        settings.validate(strict=True)
    except (ValueError, TypeError):
        return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Settings that are only tried give no warnings."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
