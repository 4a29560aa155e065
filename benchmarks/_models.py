"""The models that are timed: shipped ones, folders, and random weights in the shape of a larger one."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from benchmarks.base import Setting
from counterpoint.base_model import load_base_model
from counterpoint.config import ModelConfig
from counterpoint.models import micro_model

SHAPES: dict[str, dict[str, int]] = {
    "tiny-shape": {
        "vocab_size": 64,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "intermediate_size": 32,
    },
    "qwen3-0.6b-shape": {
        "vocab_size": 151_936,
        "hidden_size": 1024,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 3072,
    },
    "qwen3-1.7b-shape": {
        "vocab_size": 151_936,
        "hidden_size": 2048,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 6144,
    },
    "qwen3-4b-shape": {
        "vocab_size": 151_936,
        "hidden_size": 2560,
        "num_hidden_layers": 36,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 9728,
    },
}


def model_of(setting: Setting) -> Any:
    """The model that the setting names, on its device, without gradients."""
    if setting.model in SHAPES:
        return random_model(SHAPES[setting.model], setting.device, setting.dtype)
    return load_base_model(ModelConfig(path=setting.model, device=setting.device, dtype=setting.dtype)).model


def config_of(shape: dict[str, int], dtype: str = "float32") -> Qwen3Config:
    """A Qwen3 of this shape, its head tied to its embeddings."""
    return Qwen3Config(
        **shape,
        max_position_embeddings=32_768,
        tie_word_embeddings=True,
        eos_token_id=None,
        pad_token_id=0,
        bos_token_id=None,
        dtype=getattr(torch, dtype),
    )


def random_model(shape: dict[str, int], device: str = "cpu", dtype: str = "float32") -> Any:
    """A Qwen3 of this shape with random weights: on a device always the same."""
    with torch.random.fork_rng(devices=[] if device == "cpu" else None), torch.device(device):
        torch.manual_seed(0)
        model = Qwen3ForCausalLM(config_of(shape, dtype))
    model.name_or_path = "random"
    return model.to(device=device, dtype=getattr(torch, dtype)).eval().requires_grad_(False)


def folder_of(shape: str, folder: Path, dtype: str = "float32", device: str = "cpu") -> Path:
    """`folder` holds random weights of a shape, and the tokenizer of a micro model."""
    source = _shipped("micro-medium")
    words = json.loads((source / "config.json").read_text(encoding="utf-8"))["vocab_size"]
    wide = {**SHAPES[shape], "vocab_size": max(words, SHAPES[shape]["vocab_size"])}
    random_model(wide, device, dtype).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(source / name, folder)
    _change(
        folder / "config.json",
        pad_token_id=json.loads((source / "config.json").read_text(encoding="utf-8"))["pad_token_id"],
    )
    return folder


def endless(setting: Setting, folder: Path) -> Path:
    """`folder` holds the setting's model, with a token that it (almost) never says as the end of a reply.

    So every reply is as long as it may be, on both sides of a comparison.
    """
    if setting.model in SHAPES:
        folder_of(setting.model, folder, setting.dtype, setting.device)
    else:
        shutil.copytree(_shipped(setting.model), folder)
    never = json.loads((folder / "config.json").read_text(encoding="utf-8"))["pad_token_id"]
    text = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["pad_token"]
    _change(folder / "config.json", eos_token_id=never)
    _change(folder / "tokenizer_config.json", eos_token=text)
    if (folder / "generation_config.json").exists():
        _change(folder / "generation_config.json", eos_token_id=never)
    return folder


def _shipped(name: str) -> Path:
    found = micro_model(name)
    if found is None:
        raise ValueError(f"{name!r} is not a shipped model")
    return found


def _change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text(encoding="utf-8")), **values}, indent=2), encoding="utf-8")
