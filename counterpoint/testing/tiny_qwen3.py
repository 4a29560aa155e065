"""A tiny random model that behaves like Qwen3: special tokens, stop tokens, chat template and thinking."""

from pathlib import Path

from transformers import GenerationConfig

from counterpoint.testing.tiny import PAD, START, STOP, byte_tokenizer, random_qwen3

THINK, THOUGHT = "<think>", "</think>"
_ADDED = (THINK, THOUGHT, "<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")
_TEMPLATE = Path(__file__).with_name("qwen3.jinja")
_PREFERS = {STOP: 1.0, THOUGHT: 2.2, THINK: 0.0}


def tiny_qwen3_folder(path: Path, *, seed: int = 0, width: int = 32, layers: int = 2) -> Path:
    """Write to `path` a random Qwen3 (float32) whose tokens, template and stop tokens behave like Qwen3's.

    As there, `<think>` and `</think>` are tokens, but not special ones. It generates nonsense: many replies contain
    `</think>`, even without `<think>` before it, and some never do.
    """
    tokenizer = byte_tokenizer([PAD, START, STOP], _ADDED)
    tokenizer.chat_template = _TEMPLATE.read_text(encoding="utf-8")
    tokenizer.save_pretrained(path)
    model = random_qwen3(tokenizer, seed=seed, prefers=_PREFERS, width=width, layers=layers)
    stops = [tokenizer.convert_tokens_to_ids(text) for text in (STOP, PAD)]
    model.generation_config = GenerationConfig(eos_token_id=stops, pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(path)
    return path
