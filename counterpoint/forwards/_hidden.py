"""The hidden states of packed tokens.

Shapes: N packed tokens, E hidden values.
"""

from typing import Any

import torch
from torch import Tensor

from counterpoint.forwards._attention import Layout
from counterpoint.forwards._forest import Forest


def hidden_states(model: Any, ids_N: Tensor, positions_N: Tensor, layout: Layout) -> Tensor:
    """The decoder's output (N, E) after its final norm: the input of the head."""
    output = model.get_decoder()(input_ids=ids_N[None], position_ids=positions_N[None], use_cache=False, layout=layout)
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def of_forest(model: Any, forest: Forest, layout: Layout) -> Tensor:
    """The hidden states (N, E) of all tokens of a forest."""
    ids_N, positions_N = (torch.from_numpy(one).to(model.device) for one in (forest.ids, forest.positions))
    return hidden_states(model, ids_N, positions_N, layout)
