"""A tokenizer with one token per character: every reply can be read off its ids, and no model is needed."""

import re
from collections.abc import Sequence
from typing import Any

from counterpoint.chat import Chat

START, END, OTHER_END, MERGED = 1, 2, 3, 4
"""Token ids: begin of message, end of message, another stop token, and a token that `encode` never produces."""
MERGED_TEXT = "12"
CONTROL = {"<|im_start|>": START, "<|im_end|>": END, "<|endoftext|>": OTHER_END}
"""Text of a control token -> its id."""
_FIRST = 10


class CharacterTokenizer:
    """One token per character, and the ChatML template.

    `MERGED` also decodes to "12", but `encode` never produces it: so a test sees if replies were encoded again.
    """

    def apply_chat_template(self, conversation: list[Any], **options: Any) -> str:
        """The conversation as text; with `add_generation_prompt`, up to the beginning of a reply."""
        parts = [f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in conversation]
        return "".join(parts) + ("<|im_start|>assistant\n" if options["add_generation_prompt"] else "")

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """The ids: control tokens for their texts, characters for everything else."""
        pieces = re.split(f"({'|'.join(map(re.escape, CONTROL))})", text)
        return [one for piece in pieces for one in ([CONTROL[piece]] if piece in CONTROL else spell(piece))]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """The text of the ids."""
        names = {number: "" if skip_special_tokens else name for name, number in CONTROL.items()}
        names[MERGED] = MERGED_TEXT
        return "".join(names[one] if one in names else chr(one - _FIRST) for one in ids)


def spell(text: str) -> list[int]:
    """The ids of the text's characters, even where it spells a control token."""
    return [ord(character) + _FIRST for character in text]


def character_chat() -> Chat:
    """A chat with one token per character, in which only the template writes control tokens."""
    return Chat(tokenizer=CharacterTokenizer(), stop_ids=frozenset({END, OTHER_END}), control=frozenset(CONTROL))
