"""Attention over packed tokens as two matrix products and a softmax, in tiles that stay in the cache of a CPU.

torch's fused attention multiplies matrices of a few dozen rows at a third of the rate that batched products reach.

Shapes: N packed tokens, H query heads, Hk key and value heads, G = H / Hk query heads that share a key head, D values
per head; in a tile B rows, T queries, S keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from counterpoint.forwards._forest import Branch, Forest

_SCORES = 2**17
"""Queries times keys times heads of a tile: its scores fill half of a core's cache."""
_SMALL = 2**12
"""A tile up to this area may be mostly padding: another tile would cost more."""
_WASTE = 1.25
"""A larger one is at most this many times the sum of its rows' own areas."""
_QUERIES = 32
"""Longer branches are cut into pieces of about so many queries, each of which looks only at the keys up to its end."""


@dataclass(frozen=True, slots=True)
class _Tile:
    """Pieces of branches, padded to one batch. Indices are of rows of D values: token by token, head by head."""

    shape: tuple[int, int, int, int]
    """Hk, G, T, S."""
    queries: Tensor
    """(B * Hk * G * T)"""
    keys: Tensor
    """(B * Hk * S)"""
    hidden_B11TL: Tensor
    """-inf where a query does not attend to one of the last L keys, 0 where it does; all attend to those before."""
    real_B11T1: Tensor | None
    """0 for a query that is padding, 1 for one that is not; None if none is."""


class ProductLayout:
    """The attention of `ForestLayout`, for float32 on a CPU."""

    def __init__(self, forest: Forest) -> None:
        self._pieces = [piece for branch in forest.branches for piece in _pieces(branch)]
        self._looked_at = sum(len(branch.path) for branch in forest.branches)
        self._by_heads: dict[tuple[int, int], _Tiles] = {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        heads = (query.shape[1], key.shape[1])
        if heads not in self._by_heads:
            self._by_heads[heads] = _tiles(self._pieces, len(query), *heads, query.shape[2], self._looked_at)
        found: Tensor = _Attention.apply(query, key, value, self._by_heads[heads], scale)  # type: ignore[no-untyped-call]
        return found


@dataclass(frozen=True, slots=True)
class _Tiles:
    tiles: Sequence[_Tile]
    order_NH: Tensor
    """Where in the tiles' queries, one tile after the other, each packed token's heads are."""
    kept: bool
    """True if the weights of the attention are kept for the backward pass; otherwise it computes them again."""


class _Attention(torch.autograd.Function):
    """softmax(scale * q k^T + hidden) v, tile by tile. Keys and values are gathered again in the backward pass."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, tiles: _Tiles, scale: float) -> Tensor:
        rows = _rows(query), _rows(key), _rows(value)
        found, weights = [], []
        for tile in tiles.tiles:
            query_, key_, value_ = _gathered(tile, *rows, scale)
            weights_bRS = _weights(tile, query_, key_)
            found.append(torch.bmm(weights_bRS, value_).view(-1, value.shape[2]))
            if tiles.kept:
                weights.append(weights_bRS)
        ctx.save_for_backward(*rows, *weights)
        ctx.tiles, ctx.scale, ctx.shapes = tiles, scale, (query.shape, key.shape, value.shape)
        return _in_order(found, tiles).view(*query.shape[:2], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *weights = ctx.saved_tensors
        pulls, of_query = _rows(gradient), []
        of_key, of_value = torch.zeros_like(key), torch.zeros_like(value)
        for place, tile in enumerate(ctx.tiles.tiles):
            query_, key_, value_ = _gathered(tile, query, key, value, ctx.scale)
            weights_bRS = weights[place] if weights else _weights(tile, query_, key_)
            pull = _real(tile, pulls.index_select(0, tile.queries)).view(*query_.shape[:2], -1)
            of_value.index_add_(0, tile.keys, torch.bmm(weights_bRS.transpose(1, 2), pull).view(-1, value.shape[1]))
            slope_bRS = torch.bmm(pull, value_.transpose(1, 2))
            slope_bRS = torch._softmax_backward_data(slope_bRS, weights_bRS, -1, slope_bRS.dtype)
            of_query.append(torch.bmm(slope_bRS, key_).mul_(ctx.scale).view(-1, query.shape[1]))
            of_key.index_add_(0, tile.keys, torch.bmm(slope_bRS.transpose(1, 2), query_).view(-1, key.shape[1]))
        found = (_in_order(of_query, ctx.tiles), of_key, of_value)
        return *(one.view(shape) for one, shape in zip(found, ctx.shapes, strict=True)), None, None


def _rows(x_NHD: Tensor) -> Tensor:
    return x_NHD.reshape(-1, x_NHD.shape[2])


def _gathered(tile: _Tile, query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """A tile's queries (B * Hk, G * T, D), scaled, its keys and its values (B * Hk, S, D)."""
    _, groups, queries, keys = tile.shape
    query_ = query.index_select(0, tile.queries).mul_(scale).view(-1, groups * queries, query.shape[1])
    key_, value_ = (one.index_select(0, tile.keys).view(-1, keys, one.shape[1]) for one in (key, value))
    return query_, key_, value_


def _weights(tile: _Tile, query: Tensor, key: Tensor) -> Tensor:
    """(B * Hk, G * T, S), each row of which adds up to 1."""
    scores_bRS = torch.bmm(query, key.transpose(1, 2))
    last = tile.hidden_B11TL.shape[-1]
    scores_bRS.view(-1, *tile.shape)[..., tile.shape[-1] - last :].add_(tile.hidden_B11TL)
    return torch.softmax(scores_bRS, dim=-1)


def _real(tile: _Tile, rows: Tensor) -> Tensor:
    """The rows of a tile's queries with 0 for those that are padding: what they would pull at is another's."""
    if tile.real_B11T1 is not None:
        rows.view(-1, *tile.shape[:3], rows.shape[1]).mul_(tile.real_B11T1)
    return rows


def _in_order(parts: Sequence[Tensor], tiles: _Tiles) -> Tensor:
    """Rows of the tiles' queries as rows of packed tokens: every token is a query of exactly one tile."""
    return torch.cat(list(parts)).index_select(0, tiles.order_NH)


# Tiles of a forest


def _pieces(branch: Branch) -> Iterator[Branch]:
    own, shared = len(branch.places), len(branch.path) - len(branch.places)
    count = -(-own // _QUERIES)
    ends = [own * number // count for number in range(count + 1)]
    for start, end in pairwise(ends):
        yield Branch(branch.places[start:end], branch.path[: shared + end])


def _tiles(pieces: Sequence[Branch], tokens: int, heads: int, key_heads: int, width: int, looked_at: int) -> _Tiles:
    """For so many heads of so many values. Weights are kept where keys and values, once a branch, would take more."""
    groups = _grouped(pieces, _SCORES // heads)
    tiles = [_tile(group, key_heads, heads // key_heads) for group in groups]
    weights = sum(len(tile.queries) * tile.shape[-1] for tile in tiles)
    kept = weights <= 2 * key_heads * width * looked_at
    return _Tiles(tiles, _order(tiles, tokens * heads), kept)


def _order(tiles: Sequence[_Tile], rows: int) -> Tensor:
    """Where in the queries of all tiles each row of packed tokens is."""
    order, start = torch.empty(rows, dtype=torch.int64), 0
    for tile in tiles:
        at = torch.arange(start, start + len(tile.queries))
        real = slice(None) if tile.real_B11T1 is None else _each(tile.real_B11T1[..., 0].bool(), tile)
        order[tile.queries[real]] = at[real]
        start += len(at)
    return order


def _each(real_B11T: Tensor, tile: _Tile) -> Tensor:
    return real_B11T.expand(-1, *tile.shape[:3]).reshape(-1)


def _grouped(pieces: Sequence[Branch], most: int) -> list[list[Branch]]:
    """The pieces grouped greedily to tiles of at most that area, in order of their numbers of queries and keys."""
    groups: list[list[Branch]] = []
    area = longest = 0
    for piece in sorted(pieces, key=lambda one: (len(one.places), len(one.path))):
        own = len(piece.places) * len(piece.path)
        if groups:
            longest = max(longest, len(piece.path))
            padded = (len(groups[-1]) + 1) * len(piece.places) * longest
            if padded <= min(most, max(_SMALL, _WASTE * (area + own))):
                groups[-1].append(piece)
                area += own
                continue
        groups.append([piece])
        area, longest = own, len(piece.path)
    return groups


def _tile(pieces: Sequence[Branch], key_heads: int, groups: int) -> _Tile:
    """Padding queries and keys are token 0."""
    owns = np.array([len(piece.places) for piece in pieces])
    lengths = np.array([len(piece.path) for piece in pieces])
    queries_BT, keys_BS = _padded([piece.places for piece in pieces]), _padded([piece.path for piece in pieces])
    heads_KG = np.arange(key_heads * groups).reshape(key_heads, groups)
    queries_BKGT = queries_BT[:, None, None] * (key_heads * groups) + heads_KG[:, :, None]
    keys_BKS = keys_BS[:, None] * key_heads + np.arange(key_heads)[:, None]
    # A padding query attends to all keys of its row: the softmax of an empty row is NaN.
    last_BT = np.minimum((lengths - owns)[:, None] + np.arange(queries_BT.shape[1]), lengths[:, None] - 1)
    # Every query attends to the keys that its row had before, which are most keys of a long row.
    first = min(lengths - owns) + 1
    seen_BTL = np.arange(first, keys_BS.shape[1]) <= last_BT[:, :, None]
    real_BT = np.arange(queries_BT.shape[1]) < owns[:, None]
    return _Tile(
        (key_heads, groups, queries_BT.shape[1], keys_BS.shape[1]),
        torch.from_numpy(queries_BKGT.reshape(-1)),
        torch.from_numpy(keys_BKS.reshape(-1)),
        torch.from_numpy(np.where(seen_BTL, np.float32(0), np.float32(-np.inf)))[:, None, None],
        None if real_BT.all() else torch.from_numpy(real_BT.astype(np.float32))[:, None, None, :, None],
    )


def _padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    padded = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return padded
