"""A tokenizer that writes a character a token: whatever is said can be read off the ids, and no engine is needed."""

import re
from collections.abc import Sequence
from typing import Any

from counterpoint.chat import Chat

START, END, OTHER_END, MERGED = 1, 2, 3, 4
"""Token ids: what begins a message, what ends one, what else ends a reply, and a token that no encoding gives."""
MERGED_TEXT = "12"
CONTROL = {"<|im_start|>": START, "<|im_end|>": END, "<|endoftext|>": OTHER_END}
"""Text of a control token -> its id."""
_FIRST = 10


class CharacterTokenizer:
    """A token a character, and the ChatML template.

    `MERGED` says "12" as well, but no encoding ever gives it: ids that were encoded anew show.
    """

    def apply_chat_template(self, conversation: list[Any], **options: Any) -> str:
        """The conversation as text; `add_generation_prompt` says whether a reply is asked for."""
        parts = [f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in conversation]
        return "".join(parts) + ("<|im_start|>assistant\n" if options["add_generation_prompt"] else "")

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Control tokens where their text stands, characters everywhere else."""
        pieces = re.split(f"({'|'.join(map(re.escape, CONTROL))})", text)
        return [one for piece in pieces for one in ([CONTROL[piece]] if piece in CONTROL else spell(piece))]

    def decode(self, ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        """The text of the ids."""
        names = {number: "" if skip_special_tokens else name for name, number in CONTROL.items()}
        names[MERGED] = MERGED_TEXT
        return "".join(names[one] if one in names else chr(one - _FIRST) for one in ids)


def spell(text: str) -> list[int]:
    """The text letter by letter, as a model says it that spells a control token out: none is among the ids."""
    return [ord(character) + _FIRST for character in text]


def character_chat() -> Chat:
    """Conversations a character a token, in which nobody but the template writes control tokens."""
    return Chat(tokenizer=CharacterTokenizer(), stop_ids=frozenset({END, OTHER_END}), control=frozenset(CONTROL))
