"""Finding and loading a frozen causal language model."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoTokenizer,
    GenerationConfig,
    Mxfp4Config,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from counterpoint.architectures import EXPANDED, check_architecture, quantized_by
from counterpoint.chat import Chat
from counterpoint.config import ModelConfig
from counterpoint.errors import ModelError
from counterpoint.locate import ALLOWED, check_device, locate
from counterpoint.targets import targets_of
from counterpoint.vocabulary import chat_of

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseModel:
    """A base model in evaluation mode, without gradients, and its chat template."""

    model: PreTrainedModel
    chat: Chat


def load_base_model(config: ModelConfig) -> BaseModel:
    """The model that the recipe names, on its device. Raises ModelError, which names the model and the reason."""
    with _reading(config), _without_bar():
        model, report = _loaded(config)
    missing = sorted(report["missing_keys"])
    if missing:  # transformers has initialised them at random
        raise ModelError(f"model.path = {config.path!r} lacks {len(missing)} of the model's tensors: {missing[0]}, ...")
    model.name_or_path = config.path  # adapter files name this as their base; it must not be a path of this machine
    check_device(config)
    try:
        model = model.to(config.device)
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device that does not work
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"model.device = {config.device!r} cannot be used: {reason}") from error
    return BaseModel(model=model.eval().requires_grad_(False), chat=load_chat(config))


def _loaded(config: ModelConfig) -> tuple[Any, Mapping[str, Any]]:
    """The model, and transformers' report of missing tensors."""
    path, options = _located(config)
    kind: Any = AutoModelForCausalLM
    expanded = False
    if "gguf_file" not in options:
        found = AutoConfig.from_pretrained(path, **options)
        kind, expanded = loader_of(found), quantized_by(found.to_dict()) == EXPANDED
    how = {"quantization_config": Mxfp4Config(dequantize=True)} if expanded else {}
    model, report = kind.from_pretrained(path, dtype=DTYPES[config.dtype], output_loading_info=True, **how, **options)
    if getattr(model, "_hf_peft_config_loaded", False):
        raise ModelError(
            f"model.path = {config.path!r} holds an adapter, which transformers puts into the model: name the base as"
            " model.path, and the folder of the adapter as policies.adapter"
        )
    if expanded:  # or they would be saved under the names of quantized weights
        model._weight_conversions = []
    check_architecture({"model_type": model.config.model_type}, config.path)
    return model, report


def loader_of(found: PreTrainedConfig) -> Any:
    """The class of transformers that makes a model of these settings, also one that reads images beside text."""
    return AutoModelForCausalLM if type(found) in AutoModelForCausalLM._model_mapping else AutoModelForImageTextToText


def empty_model(found: PreTrainedConfig, dtype: torch.dtype) -> Any:
    """A model of these settings with random weights, or with none on torch's meta device."""
    return loader_of(found).from_config(found, dtype=dtype)


def load_chat(config: ModelConfig) -> Chat:
    """The chat template of the model that the recipe names. Raises ModelError; reads no weights."""
    path, options = _located(config)
    with _reading(config):
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        rows = getattr(AutoConfig.from_pretrained(path, **options).get_text_config(), "vocab_size", None)
        stops = _stop_ids(tokenizer, path, options)
    return chat_of(tokenizer, config, stops, rows)


def model_without_weights(config: ModelConfig) -> Any:
    """The model that the recipe names, in its dtype, on torch's meta device. Raises ModelError."""
    path, options = _located(config)
    with _reading(config), torch.device("meta"):
        found = AutoConfig.from_pretrained(path, **options)
        check_architecture(found.to_dict(), config.path)
        model = empty_model(found, DTYPES[config.dtype])
    model.name_or_path = config.path
    return model


def configuration(config: ModelConfig) -> Any:
    """The configuration, as transformers reads it, of the model that the recipe names. Raises ModelError."""
    path, options = _located(config)
    with _reading(config):
        return AutoConfig.from_pretrained(path, **options)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSize:
    """The size of a base model."""

    parameters: int
    active: int
    """The parameters that a token passes through: fewer than all in a mixture of experts."""
    linear_width: int
    """Inputs plus outputs, summed over the layers that get adapters."""
    loader: str
    """The name of the class of transformers that loads it."""
    adapted: str
    """The layers that get adapters, by their names."""
    not_adapted: str
    """The parts that get none although they have weights, beside the embeddings and the head; empty if there are
    none."""


def base_size(config: ModelConfig) -> BaseSize:
    """The size of the model that the recipe names; no weights are read. Raises ModelError."""
    model = model_without_weights(config)
    targets = targets_of(model)
    return BaseSize(
        parameters=targets.parameters,
        active=targets.parameters - targets.idle,
        linear_width=sum(inputs + outputs for inputs, outputs in targets.layers.values()),
        loader=loader_of(model.config).__name__,
        adapted=targets.adapted,
        not_adapted=targets.not_adapted,
    )


def _located(config: ModelConfig) -> tuple[str, dict[str, Any]]:
    """The arguments for transformers. Raises ModelError if there is no such model, or one of a refused architecture.

    A .gguf file says its architecture once it has been parsed.
    """
    path, options = locate(config)
    if "gguf_file" not in options:
        with _reading(config):
            settings, _ = PreTrainedConfig.get_config_dict(path, **options)
        check_architecture(settings, config.path)
    return path, {**options, "trust_remote_code": False}


@contextmanager
def _reading(config: ModelConfig) -> Iterator[None]:
    """Turn any exception of transformers while it reads a model into a ModelError of one line that names the model.

    It shows no progress bars of its own meanwhile.
    """
    had_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except ModelError:
        raise
    except (
        OSError,
        ValueError,
        ImportError,
        LookupError,
        RuntimeError,
        TypeError,
        AttributeError,
        SafetensorError,
    ) as error:
        reason = str(error).strip().split("\n")[0]
        raise ModelError(f"model.path = {config.path!r} cannot be loaded: {reason} (allowed: {ALLOWED})") from error
    finally:
        if had_bars:
            logging.enable_progress_bar()


@contextmanager
def _without_bar() -> Iterator[None]:
    """No progress bar for the tensors of a GGUF file, which the switch of transformers does not turn off."""
    from transformers import modeling_gguf_pytorch_utils as converting

    shown = converting.tqdm
    converting.tqdm = lambda tensors, **_: tensors
    try:
        yield
    finally:
        converting.tqdm = shown


def _stop_ids(tokenizer: PreTrainedTokenizerBase, path: str, options: dict[str, Any]) -> frozenset[int]:
    """The end tokens of the model's generation settings, or of its own where it has no such file, and its tokenizer's.

    Only what its own settings name counts: where they name none, transformers has one that other models end with.
    """
    try:
        settings = {name: value for name, value in options.items() if name in ("revision", "local_files_only")}
        configured = GenerationConfig.from_pretrained(path, **settings).eos_token_id
    except OSError:
        own = {} if "gguf_file" in options else PreTrainedConfig.get_config_dict(path, **options)[0]
        configured = own.get("eos_token_id", (own.get("text_config") or {}).get("eos_token_id"))
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(int(stop) for stop in [*listed, tokenizer.eos_token_id] if stop is not None)
