"""Attention over packed tokens: what each may look at is said by a layout, not by a mask over all of them.

The model sees all tokens side by side as one row, so that its linear layers compute no padding; only here are they laid
out as rows. transformers calls `attend` in every layer and hands it the layout that the forward pass was given.

Shapes: N packed tokens, H heads for queries and Hk for keys and values, D values a head; B rows, T queries, S keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from counterpoint.errors import ModelError
from counterpoint.forwards._forest import Branch, Forest

ATTENTION = "counterpoint_packed"
_HARMLESS = ("position_ids", "use_cache", "cache_position", "output_attentions", "output_hidden_states", "is_causal")
_WASTE = 1.25
"""Rows share a tile while it has at most this many times the area that they have."""
_SMALL = 2**16
"""A tile of so small an area may be padding for the most part: another tile would cost more."""


_GROUPED: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}
"""torch 2.11 takes fewer key heads than query heads without being told."""


class Layout(Protocol):
    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """What every token gets from those that it may look at.

        `query` (N, H, D), `key` and `value` (N, Hk, D), all of layer `layer`; the result is (N, H, D).
        """
        ...


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, scaling: float, **options: Any
) -> tuple[Tensor, None]:
    """Transformers' attention function: (1, H, N, D) and twice (1, Hk, N, D) in, (1, N, H, D) out.

    Raises ModelError if the model wants an attention that a layout cannot give, such as one over a window.
    """
    layout = options.pop("layout", None)
    if layout is None:
        raise ModelError("this model computes packed tokens and was called without their layout")
    for name, value_of in options.items():
        if name not in _HARMLESS and value_of not in (None, 0.0):
            raise ModelError(f"packed tokens cannot be computed with the attention option {name} = {value_of!r}")
    rows = (one[0].transpose(0, 1) for one in (query, key, value))
    return layout.attend(module.layer_idx, *rows, scaling)[None], None


AttentionInterface.register(ATTENTION, attend)


@dataclass(frozen=True, slots=True)
class _Tile:
    """Some branches as rows of a rectangle: where their queries and keys stand, and which may see which."""

    queries: Tensor
    """(B * T), places."""
    keys: Tensor
    """(B * S), places."""
    seen_B1TS: Tensor


class ForestLayout:
    """A token of a forest looks at itself and at everything before it in its sequences."""

    def __init__(self, forest: Forest, device: torch.device) -> None:
        groups = list(_grouped(forest.branches))
        self._tiles = [_tile(branches, device) for branches in groups]
        self._order = torch.from_numpy(_order(groups, len(forest.ids))).to(device)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        parts = [_attend(tile, query, key, value, scale) for tile in self._tiles]
        return torch.cat(parts).index_select(0, self._order)


class FlashLayout:
    """The same by one flash attention over all branches, each as long as it is: no padding and no mask.

    Only for half precision on a GPU.
    """

    def __init__(self, forest: Forest, device: torch.device) -> None:
        paths = [branch.path for branch in forest.branches]
        self._keys = torch.from_numpy(np.concatenate(paths)).to(device)
        self._queries_end, self._most_queries = _ends([len(branch.places) for branch in forest.branches], device)
        self._keys_end, self._most_keys = _ends([len(path) for path in paths], device)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        # Tokens stand in the order of their branches, and what a branch adds is the end of its path.
        found = varlen_attn(
            query,
            key.index_select(0, self._keys),
            value.index_select(0, self._keys),
            self._queries_end,
            self._keys_end,
            self._most_queries,
            self._most_keys,
            scale=scale,
            window_size=(-1, 0),
            **_GROUPED,
        )
        return cast(Tensor, found)


def _ends(lengths: Sequence[int], device: torch.device) -> tuple[Tensor, int]:
    """Where each of some rows ends that stand side by side, after a 0; and the longest."""
    return torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32)).to(device), max(lengths)


def layout_of(forest: Forest, model: Any) -> Layout:
    """The faster of the layouts that the model's device and numbers allow."""
    fits = model.device.type == "cuda" and model.dtype in (torch.bfloat16, torch.float16)
    return (FlashLayout if fits else ForestLayout)(forest, model.device)


def _attend(tile: _Tile, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """(B * T, H, D) for the tile's queries."""
    rows = len(tile.seen_B1TS)
    query_BHTD = torch.unflatten(query.index_select(0, tile.queries), 0, (rows, -1)).transpose(1, 2)
    key_BHSD = torch.unflatten(key.index_select(0, tile.keys), 0, (rows, -1)).transpose(1, 2)
    value_BHSD = torch.unflatten(value.index_select(0, tile.keys), 0, (rows, -1)).transpose(1, 2)
    found_BHTD = scaled_dot_product_attention(
        query_BHTD, key_BHSD, value_BHSD, attn_mask=tile.seen_B1TS, scale=scale, enable_gqa=True
    )
    return found_BHTD.transpose(1, 2).flatten(0, 1)


def _grouped(branches: Sequence[Branch]) -> list[list[Branch]]:
    """The branches, those of like shape together."""
    groups: list[list[Branch]] = []
    area = 0
    for branch in sorted(branches, key=lambda branch: (len(branch.places), len(branch.path))):
        own = len(branch.places) * len(branch.path)
        if groups:
            members = [*groups[-1], branch]
            padded = len(members) * len(branch.places) * max(len(member.path) for member in members)
            if padded <= max(_SMALL, _WASTE * (area + own)):
                groups[-1].append(branch)
                area += own
                continue
        groups.append([branch])
        area = own
    return groups


def _tile(branches: Sequence[Branch], device: torch.device) -> _Tile:
    owns, lengths = (
        np.array([len(branch.places) for branch in branches]),
        np.array([len(branch.path) for branch in branches]),
    )
    queries = _padded([branch.places for branch in branches], owns.max())
    keys = _padded([branch.path for branch in branches], lengths.max())
    last_BT = np.minimum(lengths - owns, lengths - 1)[:, None] + np.arange(owns.max())[None]
    last_BT = np.minimum(
        last_BT, lengths[:, None] - 1
    )  # what is asked for padding sees something, or it were no number
    seen_BTS = np.arange(lengths.max())[None, None] <= last_BT[:, :, None]
    return _Tile(
        torch.from_numpy(queries.reshape(-1)).to(device),
        torch.from_numpy(keys.reshape(-1)).to(device),
        torch.from_numpy(seen_BTS)[:, None].to(device),
    )


def _padded(rows: Sequence[np.ndarray], width: int) -> np.ndarray:
    padded = np.zeros((len(rows), width), dtype=np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded


def _order(groups: Sequence[Sequence[Branch]], count: int) -> np.ndarray:
    """For each token where it stands in the tiles' results, one after the other."""
    order = np.zeros(count, dtype=np.int64)
    start = 0
    for branches in groups:
        width = max(len(branch.places) for branch in branches)
        for row, branch in enumerate(branches):
            order[branch.places] = start + row * width + np.arange(len(branch.places))
        start += len(branches) * width
    return order
