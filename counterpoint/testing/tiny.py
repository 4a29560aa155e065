"""A tiny random model that is made in a moment, and calls and samples for testing samplers and learners."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from counterpoint.adapter import Adapter, tensor_names
from counterpoint.algorithms.base import Sample
from counterpoint.chat import Chat
from counterpoint.config import Config
from counterpoint.episode import Call, CallKey, Message
from counterpoint.policy import Routing
from counterpoint.recipe import config_from
from counterpoint.targets import targets_of

STOP = "<|im_end|>"
PAD = "<|endoftext|>"
START = "<|im_start|>"
_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_SPREAD = 0.3
"""Standard deviation of the weights at the usual width: large enough for every token of a prompt to matter."""
_USUAL_WIDTH = 32
_PREFERS_STOP = 1.6
"""Logit of the stop token where that of plain characters is about 0."""


def tiny_model_folder(path: Path, *, seed: int = 0) -> Path:
    """Write to `path` a random two-layer Qwen3 (float32) and its byte-level tokenizer with a ChatML template.

    It generates nonsense and stops after about ten tokens, sometimes at once, sometimes much later.
    """
    tokenizer = byte_tokenizer([PAD, START, STOP])
    tokenizer.chat_template = _CHAT_TEMPLATE
    tokenizer.save_pretrained(path)
    random_qwen3(tokenizer, seed=seed, prefers={STOP: _PREFERS_STOP}).save_pretrained(path)
    return path


def tiny_config(folder: Path, table: Mapping[str, Any] | None = None) -> Config:
    """A recipe of a few small steps with the model in `folder`; the keys of `table` override its own."""
    recipe: dict[str, Any] = {
        "model": {"path": str(folder)},
        "task": {"name": "arithmetic", "operands": 2, "train": 16, "validation": 3, "test": 4},
        "policies": {"rank": 4, "alpha": 8.0, "learning_rate": 0.01},
        "rollout": {"tasks_per_step": 3, "group_size": 4, "max_tokens": 8},
        "evaluation": {"every": 2},
        "run": {"steps": 3, "save_every": 2, "threads": 1, "proof_calls": 4},
    }
    for section, value in (table or {}).items():
        known = recipe.get(section)
        recipe[section] = {**known, **value} if isinstance(known, dict) and isinstance(value, Mapping) else value
    return config_from(recipe)


def tiny_adapters(
    model: Any, policies: Sequence[str], *, version: int = 1, rank: int = 4, scale: float = 2.0, seed: int = 0
) -> list[Adapter]:
    """Random adapters, no two alike, on the layers of `model` that get some, under PEFT's names."""
    generator = torch.Generator().manual_seed(seed)
    layers = targets_of(model).layers
    adapters = []
    for policy in policies:
        tensors = {}
        for name, (inputs, outputs) in layers.items():
            name_A, name_B = tensor_names(name)
            tensors[name_A] = 0.1 * torch.randn(rank, inputs, generator=generator)
            tensors[name_B] = 0.1 * torch.randn(outputs, rank, generator=generator)
        adapters.append(Adapter(policy=policy, version=version, scale=scale, tensors=tensors))
    return adapters


def tiny_prompts(chat: Chat, count: int) -> list[tuple[int, ...]]:
    """Distinct prompts, no two of the same length."""
    texts = ["What is 1" + " + 1" * index + "?" for index in range(count)]
    return [chat.prompt([Message(role="user", content=text)]) for text in texts]


def tiny_calls(
    chat: Chat, routing: Routing, *, count: int = 12, seed: int = 0, temperature: float = 1.0, longest: int = 9
) -> list[Call]:
    """Random calls with alternating roles and slots: three distinct prompts, completions of 1 to `longest` tokens.

    They were not sampled: their log-probabilities are 0.
    """
    source = random.Random(seed)
    prompts = tiny_prompts(chat, 3)
    roles = list(routing.policy_of)
    calls = []
    for index in range(count):
        text = "".join(source.choice("abcdefgh 0123456789") for _ in range(source.randint(1, longest)))
        ids = tuple(chat.tokenizer.encode(text, add_special_tokens=False))
        role, slot = roles[index % len(roles)], index // len(roles) % 2
        calls.append(
            Call(
                key=CallKey(role, slot, 0),
                policy=routing.policy_for(role, slot),
                version=0,
                messages=(),
                prompt_ids=source.choice(prompts),
                completion_ids=ids,
                logprobs=(0.0,) * len(ids),
                text=text,
                finish="length",
                seed=index,
                temperature=temperature,
            )
        )
    return calls


def tiny_samples(calls: Sequence[Call], *, seed: int = 0) -> list[Sample]:
    """The calls with random advantages, every one with signal."""
    source = random.Random(seed)
    return [
        Sample(task="task", rollout=index, call=call, reward=0.5, advantage=source.gauss(0.0, 1.0), signal=True)
        for index, call in enumerate(calls)
    ]


def byte_tokenizer(special: Sequence[str], added: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """One token per byte, then the `special` tokens, which decoding can skip, then the `added` ones, which it keeps.

    It has no chat template; `STOP` and `PAD` must be among the special ones.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={byte: index for index, byte in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(special))
    tokenizer.add_tokens([AddedToken(text, special=False, normalized=False) for text in added])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=STOP, pad_token=PAD, model_max_length=2048)


def random_qwen3(
    tokenizer: PreTrainedTokenizerFast,
    *,
    seed: int,
    prefers: Mapping[str, float],
    width: int = _USUAL_WIDTH,
    layers: int = 2,
) -> Any:
    """A random Qwen3 (float32) that writes plain characters and the tokens in `prefers`, at these logits.

    The logits of plain characters are about 0, those of everything else about -5.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(_model_config(tokenizer, width, layers))
    _prefer(model, tokenizer, prefers)
    return model


def _model_config(tokenizer: PreTrainedTokenizerFast, width: int, layers: int) -> Any:
    return Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        intermediate_size=2 * width,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        initializer_range=_SPREAD * (_USUAL_WIDTH / width) ** 0.5,
    )


@torch.no_grad()
def _prefer(model: Any, tokenizer: PreTrainedTokenizerFast, prefers: Mapping[str, float]) -> None:
    """Give the head a constant preference: one coordinate of the hidden state is about the same at every token."""
    plain = {tokenizer.convert_tokens_to_ids(chr(code)) for code in range(33, 127)}
    preference = torch.tensor([0.0 if index in plain else -5.0 for index in range(len(tokenizer))])
    for text, logit in prefers.items():
        preference[tokenizer.convert_tokens_to_ids(text)] = logit
    model.get_input_embeddings().weight[:, 0] = 3.0
    model.get_output_embeddings().weight[:, 0] = preference
