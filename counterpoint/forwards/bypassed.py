"""Linear layers that no adapter can go on, because the model does not compute with what they return."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import torch

_REFUSED = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
"""Model types of which PEFT refuses adapters on layers named `out_proj`."""
_CHOOSERS = "indexer"
"""The part of sparse attention that chooses keys. A choice has no gradient, so its layers cannot be learned."""


def bypassed(model: Any) -> list[str]:
    """Paths of the linear layers whose adapter would have no effect or no gradient; the model may have no weights.

    Mamba's `dt_proj` is the usual one: its layers multiply with `dt_proj.weight` themselves, so an adapter beside that
    weight would be skipped by the learner, and by everyone who loads it.
    """
    return [f"{path}.{name}".lstrip(".") for path, module in model.named_modules() for name in _of(model, path, module)]


def _of(model: Any, path: str, parent: Any) -> Iterator[str]:
    names = [name for name, child in parent.named_children() if isinstance(child, torch.nn.Linear)]
    source = _source(type(parent)) if names else ""
    refused = model.config.model_type in _REFUSED
    for name in names:
        multiplied = re.search(rf"self\.{name}\.weight\s*@", source)
        if multiplied or (refused and name == "out_proj") or _CHOOSERS in path.split("."):
            yield name


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # its source is not on this machine, or it is built in
        return ""
