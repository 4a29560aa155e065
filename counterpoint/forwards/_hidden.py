"""The hidden states of packed tokens.

Shapes: N packed tokens, M completion tokens, U tokens that predict at least one of them, E hidden values.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from counterpoint.forwards._attention import Layout
from counterpoint.forwards._forest import Forest, Ids
from counterpoint.forwards._gather import gathered, places_of
from counterpoint.forwards._layers import decoded, is_fused


def hidden_states(model: Any, ids_N: Tensor, positions_N: Tensor, layout: Layout) -> Tensor:
    """The decoder's output (N, E) after its final norm: the input of the head."""
    decoder = model.get_decoder()
    if is_fused(decoder):
        return decoded(decoder, ids_N, positions_N, layout)
    output = decoder(input_ids=ids_N[None], position_ids=positions_N[None], use_cache=False, layout=layout)
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def of_forest(model: Any, forest: Forest, layout: Layout) -> Tensor:
    """The hidden states (N, E) of all tokens of a forest."""
    return hidden_states(model, *_given(model, forest), layout)


def at_places(model: Any, forest: Forest, layout: Layout, places: Sequence[Ids]) -> Tensor:
    """The hidden states (M, E) of the tokens of a forest at these places, one array after the other.

    A place may occur more than once. The last layer is computed only where it is asked for, if it can be.
    """
    decoder = model.get_decoder()
    asked, place_of = np.unique(np.concatenate(places), return_inverse=True)
    asked_U = torch.from_numpy(asked).to(model.device)
    if is_fused(decoder):
        hidden_UE = decoded(decoder, *_given(model, forest), layout, asked_U)
    else:
        hidden_UE = of_forest(model, forest, layout).index_select(0, asked_U)
    return gathered(hidden_UE, places_of(place_of, len(asked), model.device))


def _given(model: Any, forest: Forest) -> tuple[Tensor, Tensor]:
    ids_N, positions_N = (torch.from_numpy(one).to(model.device) for one in (forest.ids, forest.positions))
    return ids_N, positions_N
