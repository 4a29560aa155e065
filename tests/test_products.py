"""Attention as products over tiles of a forest, against one dense softmax over all its tokens in float64."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from counterpoint.forwards import _products as products
from counterpoint.forwards._forest import forest_of
from counterpoint.forwards._products import ProductLayout

NAMES = ("output", "query", "key", "value")


def sequences(count, longest, *, seed=0):
    """Random sequences, most of which begin as another does."""
    source = np.random.default_rng(seed)
    found = [list(source.integers(0, 50, longest))]
    while len(found) < count:
        begun = found[source.integers(len(found))]
        found.append([*begun[: source.integers(len(begun))], *source.integers(0, 50, source.integers(1, longest))])
    return [tuple(int(token) for token in one[: 2 * longest]) for one in found]


def dense(forest, query, key, value, scale):
    """Every token looks at the tokens of its path up to itself."""
    seen = torch.zeros(len(forest.ids), len(forest.ids), dtype=torch.bool)
    for path in forest.paths:
        for at, place in enumerate(path):
            seen[place, torch.from_numpy(path[: at + 1])] = True
    key, value = (one.repeat_interleave(query.shape[1] // one.shape[1], dim=1) for one in (key, value))
    scores = torch.einsum("nhd,mhd->hnm", query, key) * scale
    return torch.einsum("hnm,mhd->nhd", scores.masked_fill(~seen, -torch.inf).softmax(-1), value)


def given(forest, heads, key_heads, width):
    """Queries, keys and values, and the gradient of the output, from a generator of their own."""
    source = torch.Generator().manual_seed(len(forest.ids))
    shapes = [(len(forest.ids), count, width) for count in (heads, key_heads, key_heads, heads)]
    return [torch.randn(shape, generator=source) for shape in shapes]


def found(attend, tensors, pull):
    """The output and the three gradients."""
    leaves = [one.detach().clone().requires_grad_() for one in tensors]
    output = attend(*leaves)
    return dict(zip(NAMES, [output.detach(), *torch.autograd.grad(output, leaves, pull)], strict=True))


@pytest.mark.parametrize(("heads", "key_heads", "width"), [(4, 2, 8), (3, 3, 5), (6, 1, 4)])
@pytest.mark.parametrize(("count", "longest"), [(1, 1), (1, 70), (2, 3), (40, 9), (9, 70)])
@pytest.mark.parametrize("kept", [True, False])
def test_values_and_gradients_are_those_of_a_dense_softmax(monkeypatch, heads, key_heads, width, count, longest, kept):
    made = products._tiles
    monkeypatch.setattr(products, "_tiles", lambda *args: replace(made(*args), kept=kept))
    forest = forest_of(sequences(count, longest))
    *tensors, pull = given(forest, heads, key_heads, width)
    layout = ProductLayout(forest)
    mine = found(lambda *of: layout.attend(0, *of, 0.3), tensors, pull)
    right = found(lambda *of: dense(forest, *of, 0.3), [one.double() for one in tensors], pull.double())
    for name in NAMES:
        # The gradients of a token that sees nothing but itself are zero but for rounding.
        limit = 2e-6 * float(right[name].norm()) + 1e-6 * float(right["value"].norm())
        assert float((mine[name].double() - right[name]).norm()) < limit, name


def test_values_may_be_wider_or_narrower_than_keys():
    forest = forest_of(sequences(12, 40))
    for width in (3, 11):
        query, key, *_ = given(forest, 4, 2, 8)
        _, _, value, pull = given(forest, 4, 2, width)
        layout = ProductLayout(forest)
        mine = found(lambda *of, layout=layout: layout.attend(0, *of, 0.3), [query, key, value], pull)
        wide = [one.double() for one in (query, key, value)]
        right = found(lambda *of: dense(forest, *of, 0.3), wide, pull.double())
        for name in NAMES:
            assert torch.allclose(mine[name].double(), right[name], atol=1e-5), name


def test_heads_that_are_not_side_by_side_give_the_same():
    forest = forest_of(sequences(12, 20))
    *tensors, pull = given(forest, 4, 2, 8)
    layout = ProductLayout(forest)
    wanted = found(lambda *of: layout.attend(0, *of, 0.3), tensors, pull)
    leaves = [one.transpose(0, 1).contiguous().requires_grad_() for one in tensors]
    output = layout.attend(0, *(leaf.transpose(0, 1) for leaf in leaves), 0.3)
    slopes = torch.autograd.grad(output, leaves, pull)
    assert torch.equal(output, wanted["output"])
    for name, slope in zip(NAMES[1:], slopes, strict=True):
        assert torch.equal(slope.transpose(0, 1), wanted[name])


def test_layers_with_other_numbers_of_heads_have_tiles_of_their_own():
    forest = forest_of(sequences(12, 20))
    layout = ProductLayout(forest)
    for heads, key_heads in ((4, 2), (2, 2), (4, 2)):
        *tensors, _ = given(forest, heads, key_heads, 8)
        wanted = dense(forest, *(one.double() for one in tensors), 0.3)
        assert torch.allclose(layout.attend(0, *tensors, 0.3).double(), wanted, atol=1e-5)


def test_every_token_is_a_query_of_one_tile_and_tiles_are_bounded():
    forest = forest_of(sequences(200, 80))
    layout = ProductLayout(forest)
    places = np.concatenate([piece.places for piece in layout._pieces])
    assert sorted(places) == list(range(len(forest.ids)))
    assert max(len(piece.places) for piece in layout._pieces) <= products._QUERIES
    groups = products._grouped(layout._pieces, 2**13)
    assert sum(map(len, groups)) == len(layout._pieces)
    for group in groups:
        area = len(group) * max(len(one.places) for one in group) * max(len(one.path) for one in group)
        assert area <= 2**13 or len(group) == 1


def test_weights_are_kept_only_where_they_take_less_than_keys_and_values():
    short, long = forest_of(sequences(30, 9)), forest_of(sequences(9, 200))
    for forest, kept in ((short, True), (long, False)):
        layout = ProductLayout(forest)
        *tensors, _ = given(forest, 4, 2, 64)
        layout.attend(0, *tensors, 0.3)
        assert layout._by_heads[4, 2].kept == kept


def test_masks_are_kept_for_the_last_keys_alone():
    layout = ProductLayout(forest_of([range(2000)]))
    *tensors, _ = given(forest_of([range(2000)]), 4, 2, 8)
    layout.attend(0, *tensors, 0.3)
    masks = [tile.hidden_B11TL for tile in layout._by_heads[4, 2].tiles]
    assert sum(mask.numel() for mask in masks) <= 2 * products._QUERIES * 2000
