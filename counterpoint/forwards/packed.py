"""The packed forward: no padding, and every prefix that calls share is computed once, in forward and backward pass.

Shapes: M completion tokens, E hidden values.
"""

from collections.abc import Sequence
from typing import Any

from counterpoint.episode import Call
from counterpoint.forwards._attention import layout_of
from counterpoint.forwards._decoding import PackedDecoding
from counterpoint.forwards._forest import forest_of, new_tokens
from counterpoint.forwards._head import scored
from counterpoint.forwards._hidden import at_places
from counterpoint.forwards.base import Decoding, Owners, Scored


class Packed:
    """For models in which every layer has causal attention and calls it through the interface of transformers."""

    name = "packed"
    takes_owners = True

    def score(self, model: Any, calls: Sequence[Call]) -> Scored:
        forest = forest_of([inputs_of(call) for call in calls])
        # Each hidden state predicts the next token: those from the prompt's last token on predict the completion.
        asked = [places[len(call.prompt_ids) - 1 :] for call, places in zip(calls, forest.paths, strict=True)]
        hidden_ME = at_places(model, forest, layout_of(forest, model), asked)
        return scored(hidden_ME, model.get_output_embeddings(), calls)

    def fits(self, ordered: Sequence[Call], max_tokens: int) -> int:
        tokens = 0
        for count, new in enumerate(new_tokens(map(inputs_of, ordered))):
            tokens += new
            if count and tokens > max_tokens:
                return count
        return len(ordered)

    def start(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        rows: Sequence[int],
        most: int,
        owners: Owners | None = None,
    ) -> Decoding:
        return PackedDecoding(model, prompts, rows, most, owners)


def inputs_of(call: Call) -> tuple[int, ...]:
    """The tokens that the model reads to predict the call's completion: all but the last."""
    return (*call.prompt_ids, *call.completion_ids[:-1])
