"""Token sequences as a forest: a beginning that some of them share stands in it once."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Ids = np.ndarray
"""Token ids or places, one-dimensional, int64."""


@dataclass(frozen=True, slots=True)
class Branch:
    """What a sequence adds to those before it, and all of the sequence."""

    places: Ids
    """Where the tokens that it adds stand, side by side."""
    path: Ids
    """Where its tokens stand from its beginning to its end; those that it adds are the last."""


@dataclass(frozen=True, slots=True)
class Forest:
    """`ids[n]` is a token, `positions[n]` its position in every sequence that it is part of."""

    ids: Ids
    positions: Ids
    branches: tuple[Branch, ...]
    paths: tuple[Ids, ...]
    """For each sequence where its tokens stand, in order."""


def forest_of(sequences: Sequence[Sequence[int]]) -> Forest:
    """The forest of some sequences, none of them empty.

    In sorted order each shares its longest known beginning with the one before it, so it adds what follows that.
    """
    order = sorted(range(len(sequences)), key=lambda row: tuple(sequences[row]))
    ids: list[Ids] = []
    positions: list[Ids] = []
    branches: list[Branch] = []
    paths: dict[int, Ids] = {}
    size, path = 0, np.empty(0, np.int64)
    for row, (tokens, shared) in zip(order, _after_each_other(sequences[row] for row in order), strict=True):
        places = np.arange(size, size + len(tokens) - shared)
        path = np.concatenate([path[:shared], places])
        paths[row] = path
        size += len(places)
        if len(places):
            ids.append(tokens[shared:])
            positions.append(np.arange(shared, len(tokens)))
            branches.append(Branch(places, path))
    return Forest(
        ids=np.concatenate(ids),
        positions=np.concatenate(positions),
        branches=tuple(branches),
        paths=tuple(paths[row] for row in range(len(sequences))),
    )


def new_tokens(ordered: Iterable[Sequence[int]]) -> Iterator[int]:
    """For sorted sequences, how many tokens each adds to the forest of those before it."""
    return (len(tokens) - shared for tokens, shared in _after_each_other(ordered))


def _after_each_other(ordered: Iterable[Sequence[int]]) -> Iterator[tuple[Ids, int]]:
    """Each sequence, and how many first tokens it shares with the one before it."""
    before: Ids = np.empty(0, np.int64)
    for sequence in ordered:
        row = np.asarray(sequence, dtype=np.int64)
        width = min(len(before), len(row))
        different = np.flatnonzero(before[:width] != row[:width])
        yield row, int(different[0]) if len(different) else width
        before = row
