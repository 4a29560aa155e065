"""A tokenizer that remembers what it did: a rehearsal encodes and decodes the same long replies many times."""

from functools import lru_cache
from typing import Any

from counterpoint.chat import Tokenizer

_LAST = 512
"""Texts, and sequences of ids, that are remembered."""


class Remembering:
    """The same tokenizer; a text or a sequence of ids that it met lately is not worked on again."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._encoded = lru_cache(_LAST)(self._encode)
        self._decoded = lru_cache(_LAST)(self._decode)

    def apply_chat_template(self, conversation: list[Any], **options: Any) -> Any:
        return self._tokenizer.apply_chat_template(conversation, **options)

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return list(self._encoded(text, add_special_tokens))

    def decode(self, ids: list[int], *, skip_special_tokens: bool) -> Any:
        return self._decoded(tuple(ids), skip_special_tokens)

    def _encode(self, text: str, special: bool) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=special))

    def _decode(self, ids: tuple[int, ...], skip: bool) -> Any:
        return self._tokenizer.decode(list(ids), skip_special_tokens=skip)
