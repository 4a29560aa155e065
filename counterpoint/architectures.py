"""The architectures that can be trained, and those that are refused, with the reason. Nothing is loaded to decide."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from counterpoint.errors import ModelError

_ENCODER_DECODER = "it has an encoder, to which no prompt is given here"
_TABLE = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
CHECKED = frozenset(_TABLE["checked"])
"""Model types of transformers of which a tiny model was trained, sampled from and exported: `docs/models.md`."""
REFUSED: dict[str, str] = {kind: reason for reason, kinds in _TABLE["refused"].items() for kind in kinds}
"""Model type of transformers -> why it is refused."""
EXPANDED = "mxfp4"
"""The quantization that is undone when a model is loaded, without loss: that of the weights of GPT-OSS."""
_TABLED = frozenset(
    {"biogpt", "codegen", "ctrl", "gpt-sw3", "gpt2", "gpt_bigcode", "gpt_neo", "gptj", "mpt", "openai-gpt", "opt"}
)
"""The checked types that have their positions, or distances between them, in a table, and fail beyond its end."""
_LENGTHS = ("max_position_embeddings", "n_positions", "max_seq_len")
"""The names that settings have for the length of that table."""
ALLOWED_ARCHITECTURES = "llama, qwen3, gemma3, mistral, gpt_oss and others: docs/models.md lists all"


def settings_in(folder: Path) -> Mapping[str, Any] | None:
    """The model's own settings in a folder, `config.json`; None if they cannot be read, which whoever loads it says."""
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def check_architecture(settings: Mapping[str, Any], path: str) -> None:
    """Raises ModelError if a model with these settings, named `path` in the recipe, cannot be trained right."""
    kind = settings.get("model_type")
    if not isinstance(kind, str):
        return  # transformers says what is wrong with these
    reason = _why_not(kind, settings)
    if reason:
        raise ModelError(
            f"model.path = {path!r} is not supported: its architecture is {kind!r}: {reason}; allowed:"
            f" {ALLOWED_ARCHITECTURES}"
        )


def check_positions(settings: Mapping[str, Any], path: str, longest: int) -> None:
    """Raises ModelError if calls of `longest` tokens have more positions than the model `path` with these settings."""
    if settings.get("model_type") not in _TABLED:
        return
    most = next((settings[name] for name in _LENGTHS if settings.get(name)), None)
    if isinstance(most, int) and longest > most:
        raise ModelError(
            f"model.path = {path!r} has {most:,} positions, and calls have up to {longest:,} tokens"
            f" (rollout.max_prompt_tokens + rollout.max_tokens); allowed: at most {most:,} together"
        )


def quantized_by(settings: Mapping[str, Any]) -> str:
    """The method with which the model's weights are quantized; empty if they are not."""
    quantized = settings.get("quantization_config")
    if not quantized:
        return ""
    return str(quantized.get("quant_method", "unknown")) if isinstance(quantized, Mapping) else "unknown"


def _why_not(kind: str, settings: Mapping[str, Any]) -> str:
    if kind in REFUSED:
        return REFUSED[kind]
    if settings.get("is_encoder_decoder") is True:
        return _ENCODER_DECODER
    if kind not in CHECKED:
        own = "; its own code is never executed" if settings.get("auto_map") else ""
        return f"it has not been checked{own}"
    return _why_not_quantized(settings)


def _why_not_quantized(settings: Mapping[str, Any]) -> str:
    method = quantized_by(settings)
    if method in ("", EXPANDED):
        return ""
    return f"its weights are quantized ({method}): use a copy in bfloat16 or float32, or a .gguf file"
