"""Attention over packed tokens. A layout says which tokens each token attends to, in place of an N x N mask.

The model sees all tokens as one sequence, so that its linear layers compute no padding; only attention arranges them as
rows. In every layer transformers calls `attend` and passes it the layout that the forward pass was given.

Shapes: N packed tokens, H query heads, Hk key and value heads, D values per head; in a tile B rows, T queries, S keys.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.masking_utils import AttentionMaskInterface

from counterpoint.errors import ModelError
from counterpoint.forwards._forest import Branch, Forest
from counterpoint.forwards._gather import gathered, places_of
from counterpoint.forwards._products import ProductLayout

ATTENTION = "counterpoint_packed"
_HARMLESS = ("position_ids", "use_cache", "cache_position", "output_attentions", "output_hidden_states", "is_causal")
_WASTE = 1.25
"""Branches share a tile while its area (queries x keys) is at most this many times the sum of their own areas."""
_SMALL = 2**16
"""A tile up to this area may be mostly padding: launching another attention kernel would cost more."""


_GROUPED: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in signature(varlen_attn).parameters else {}
"""torch 2.11 has no such option and always accepts fewer key heads than query heads."""


class Layout(Protocol):
    """The attention pattern of one forward pass."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        """Attention outputs (N, H, D) of layer `layer`, from `query` (N, H, D), `key` and `value` (N, Hk, D)."""
        ...


def attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, *, scaling: float, **options: Any
) -> tuple[Tensor, None]:
    """The attention function registered with transformers.

    `query` is (1, H, N, D), `key` and `value` are (1, Hk, N, D), the output is (1, N, H, D). Raises ModelError if the
    model asks for an attention that no layout provides, such as one over a sliding window.
    """
    layout = options.pop("layout", None)
    if layout is None:
        raise ModelError("this model is set to packed attention but was called without a layout")
    for name, value_of in options.items():
        if name not in _HARMLESS and (isinstance(value_of, Tensor) or value_of not in (None, 0.0)):
            shown = "a tensor" if isinstance(value_of, Tensor) else repr(value_of)
            raise ModelError(f"packed attention does not support the option {name} = {shown}")
    if mask is not None:
        raise ModelError("packed attention does not support a mask, such as one over a window of tokens")
    rows = (one[0].transpose(0, 1) for one in (query, key, value))
    # Some models take a view of it.
    return layout.attend(module.layer_idx, *rows, scaling).contiguous()[None], None


AttentionInterface.register(ATTENTION, attend)


@contextmanager
def with_masks_of_windows() -> Iterator[None]:
    """While it is open, a model that is set to packed attention makes the masks of its windows, and no others.

    Some models tell the length of a window to the mask alone, and not to the attention. A text that is shorter than the
    window would not show that it is missing.
    """
    AttentionMaskInterface.register(ATTENTION, _mask_of_a_window)
    try:
        yield
    finally:
        AttentionMaskInterface._global_mapping.pop(ATTENTION, None)


def _mask_of_a_window(*, local_size: int | None = None, **_: Any) -> Tensor | None:
    """Any mask: it is refused where a layer uses it."""
    return torch.ones(1, 1, 1, 1, dtype=torch.bool) if local_size else None


@dataclass(frozen=True, slots=True)
class _Tile:
    """Branches of similar shape, padded to one batch: indices of their queries and keys, and their attention mask."""

    queries: Tensor
    """(B * T), indices into the packed tokens."""
    keys: Tensor
    """(B * S), indices into the packed tokens."""
    seen_B1TS: Tensor
    """True where a query attends to a key."""


class ForestLayout:
    """Causal attention in a forest: a token attends to itself and to its ancestors.

    A branch's queries are the tokens that it adds; its keys are its whole path, whose shared part other branches use
    too. Branches of similar shape form a tile, which is one call of scaled dot-product attention.
    """

    def __init__(self, forest: Forest, device: torch.device) -> None:
        groups = list(_grouped(forest.branches))
        self._tiles = [_tile(branches, device) for branches in groups]
        self._order = torch.from_numpy(_order(groups, len(forest.ids))).to(device)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        # Every token is a query of exactly one branch, so its output is in exactly one tile.
        parts = [_attend(tile, query, key, value, scale) for tile in self._tiles]
        return torch.cat(parts).index_select(0, self._order)


class FlashLayout:
    """The same attention as one variable-length flash attention over all branches, without padding and without a mask.

    Only for half precision on a GPU.
    """

    def __init__(self, forest: Forest, device: torch.device) -> None:
        paths = [branch.path for branch in forest.branches]
        self._keys = places_of(np.concatenate(paths), len(forest.ids), device)
        self._queries_end, self._most_queries = _ends([len(branch.places) for branch in forest.branches], device)
        self._keys_end, self._most_keys = _ends([len(path) for path in paths], device)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        # The packed tokens are in branch order, so the queries need no gathering. A branch's queries are the last
        # tokens of its keys, and flash attention aligns the causal diagonal with the last key: exactly a branch's mask.
        found = varlen_attn(
            query,
            gathered(key, self._keys),
            gathered(value, self._keys),
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
    """Cumulative lengths, beginning with 0, and the greatest length, as `varlen_attn` takes them."""
    return torch.from_numpy(np.cumsum([0, *lengths], dtype=np.int32)).to(device), max(lengths)


def layout_of(forest: Forest, model: Any) -> Layout:
    """The fastest layout that the model's device and dtype allow."""
    device, number = model.device, model.dtype
    if device.type == "cuda" and number in (torch.bfloat16, torch.float16):
        return FlashLayout(forest, device)
    if device.type == "cpu" and number == torch.float32:
        return ProductLayout(forest)
    return ForestLayout(forest, device)


def _attend(tile: _Tile, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Outputs (B * T, H, D) of the tile's queries, padding included."""
    rows = len(tile.seen_B1TS)
    query_BHTD = torch.unflatten(query.index_select(0, tile.queries), 0, (rows, -1)).transpose(1, 2)
    key_BHSD = torch.unflatten(key.index_select(0, tile.keys), 0, (rows, -1)).transpose(1, 2)
    value_BHSD = torch.unflatten(value.index_select(0, tile.keys), 0, (rows, -1)).transpose(1, 2)
    found_BHTD = scaled_dot_product_attention(
        query_BHTD, key_BHSD, value_BHSD, attn_mask=tile.seen_B1TS, scale=scale, enable_gqa=True
    )
    return found_BHTD.transpose(1, 2).flatten(0, 1)


def _grouped(branches: Sequence[Branch]) -> list[list[Branch]]:
    """The branches grouped greedily into tiles, in order of their numbers of queries and keys."""
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
    """The tile of some branches; padding queries and keys point at token 0, and their outputs are never read."""
    owns, lengths = (
        np.array([len(branch.places) for branch in branches]),
        np.array([len(branch.path) for branch in branches]),
    )
    queries = _padded([branch.places for branch in branches], owns.max())
    keys = _padded([branch.path for branch in branches], lengths.max())
    last_BT = np.minimum(lengths - owns, lengths - 1)[:, None] + np.arange(owns.max())[None]
    # A padding query must attend to at least one key: the softmax of an empty row is NaN.
    last_BT = np.minimum(last_BT, lengths[:, None] - 1)
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
    """For each packed token the index of its output in the concatenated outputs of all tiles."""
    order = np.zeros(count, dtype=np.int64)
    start = 0
    for branches in groups:
        width = max(len(branch.places) for branch in branches)
        for row, branch in enumerate(branches):
            order[branch.places] = start + row * width + np.arange(len(branch.places))
        start += len(branches) * width
    return order
