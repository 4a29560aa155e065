"""Linear layers that no adapter can go on, because it would be skipped, could not learn, or would act elsewhere too."""

import inspect
import re
from collections import Counter
from typing import Any

import torch

_REFUSED = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
"""Model types of which PEFT refuses adapters on layers named `out_proj`."""
_CHOOSERS = "indexer"
"""The part of sparse attention that chooses keys. A choice has no gradient, so its layers cannot be learned."""


def bypassed(model: Any) -> list[str]:
    """Paths of the linear layers that get no adapter, sorted; the model may have no weights.

    * Layers whose weight is multiplied by the layer around them, such as Mamba's `dt_proj`: the learner, and everyone
      who loads the adapter, would skip it.
    * Layers that share their weight with others, such as the shared blocks of Zamba: a merged adapter would act in all
      of them.
    * Layers whose output only chooses among others, and `out_proj` where PEFT refuses it.
    """
    paths = dict(model.named_modules(remove_duplicate=False))
    linear = {path: module for path, module in paths.items() if isinstance(module, torch.nn.Linear)}
    used = Counter(id(module.weight) for module in linear.values())
    return sorted(
        path
        for path, module in linear.items()
        if module is not model.get_output_embeddings()
        and (used[id(module.weight)] > 1 or _is_skipped(model, paths[path.rpartition(".")[0]], path))
    )


def _is_skipped(model: Any, parent: Any, path: str) -> bool:
    *around, name = path.split(".")
    refused = name == "out_proj" and model.config.model_type in _REFUSED
    return refused or _CHOOSERS in around or bool(re.search(rf"self\.{name}\.weight\s*@", _source(type(parent))))


def _source(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # its source is not on this machine, or it is built in
        return ""
