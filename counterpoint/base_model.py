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
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from counterpoint.chat import Chat
from counterpoint.config import ModelConfig
from counterpoint.errors import ModelError
from counterpoint.locate import ALLOWED, check_device, locate

_LONG_TEXT = "sequence-length-is-longer-than-the-specified-maximum"
"""The warning that transformers gives once, unless it is marked as given: too long a prompt is an error here."""
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
    path, options = locate(config)
    model, report = AutoModelForCausalLM.from_pretrained(
        path, dtype=DTYPES[config.dtype], output_loading_info=True, **options
    )
    return model, report


def load_chat(config: ModelConfig) -> Chat:
    """The chat template of the model that the recipe names. Raises ModelError; reads no weights."""
    path, options = locate(config)
    with _reading(config):
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
    if tokenizer.chat_template is None:
        raise ModelError(f"model.path = {config.path!r}: its tokenizer has no chat template, which workflows need")
    tokenizer.deprecation_warnings[_LONG_TEXT] = True
    stops = _stop_ids(tokenizer, path, options)
    if not stops:
        raise ModelError(f"model.path = {config.path!r}: neither it nor its tokenizer names a token that ends a reply")
    control = frozenset(str(token) for token in tokenizer.added_tokens_decoder.values() if token.special)
    return Chat(
        tokenizer=tokenizer,
        stop_ids=stops,
        template_options=tuple(config.template_options.items()),
        thinking=config.thinking,
        reasoning_end=config.reasoning_end,
        control=control,
    )


def model_without_weights(config: ModelConfig) -> Any:
    """The model that the recipe names, in its dtype, on torch's meta device. Raises ModelError."""
    path, options = locate(config)
    with _reading(config), torch.device("meta"):
        found = AutoConfig.from_pretrained(path, **options)
        model = AutoModelForCausalLM.from_config(found, dtype=DTYPES[config.dtype])
    model.name_or_path = config.path
    return model


def configuration(config: ModelConfig) -> Any:
    """The configuration, as transformers reads it, of the model that the recipe names. Raises ModelError."""
    path, options = locate(config)
    with _reading(config):
        return AutoConfig.from_pretrained(path, **options)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseSize:
    """The size of a base model."""

    parameters: int
    linear_width: int
    """Inputs plus outputs, summed over the linear layers that get adapters."""


def base_size(config: ModelConfig) -> BaseSize:
    """The size of the model that the recipe names; no weights are read. Raises ModelError."""
    model = model_without_weights(config)
    head = model.get_output_embeddings()
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not head]
    return BaseSize(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        linear_width=sum(layer.in_features + layer.out_features for layer in linear),
    )


@contextmanager
def _reading(config: ModelConfig) -> Iterator[None]:
    """Turn any exception of transformers while it reads a model into a ModelError of one line that names the model.

    It shows no progress bars of its own meanwhile.
    """
    had_bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    except (OSError, ValueError, ImportError, KeyError, RuntimeError, SafetensorError) as error:
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
    """The end tokens of the model's generation settings, if it has any, and of its tokenizer."""
    try:
        settings = {name: value for name, value in options.items() if name != "gguf_file"}
        configured = GenerationConfig.from_pretrained(path, **settings).eos_token_id
    except OSError:
        configured = None
    listed = configured if isinstance(configured, list) else [configured]
    return frozenset(int(stop) for stop in [*listed, tokenizer.eos_token_id] if stop is not None)
