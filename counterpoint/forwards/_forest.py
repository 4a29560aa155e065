"""Token sequences as a forest (a set of prefix trees): a prefix that several sequences share is stored once.

Example: the sequences `a b c` and `a b d e` become the packed tokens `a b c d e` with the positions `0 1 2 2 3`. The
first branch adds `a b c` at the indices 0 1 2; the second adds `d e` at the indices 3 4, and its path is 0 1 3 4.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Ids = np.ndarray
"""Token ids, or indices into the packed tokens; one-dimensional, int64."""


@dataclass(frozen=True, slots=True)
class Branch:
    """The tokens that one sequence adds to the forest, and its path from the root."""

    places: Ids
    """Indices of the tokens that the sequence adds; they are consecutive."""
    path: Ids
    """Indices of all its tokens, first to last; those that it adds are the last."""


@dataclass(frozen=True, slots=True)
class Forest:
    """Packed tokens: `ids[n]` is a token, `positions[n]` its position in every sequence that contains it."""

    ids: Ids
    positions: Ids
    branches: tuple[Branch, ...]
    paths: tuple[Ids, ...]
    """For each sequence, in the order given to `forest_of`, the indices of its tokens."""


def forest_of(sequences: Sequence[Sequence[int]]) -> Forest:
    """The forest of some sequences, none of them empty.

    In lexicographic order, the longest prefix that a sequence shares with any earlier one is the prefix that it shares
    with the one just before it, so one pass finds every shared prefix.
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
    """For sorted sequences, the number of tokens that each adds to the forest of those before it."""
    return (len(tokens) - shared for tokens, shared in _after_each_other(ordered))


def _after_each_other(ordered: Iterable[Sequence[int]]) -> Iterator[tuple[Ids, int]]:
    """Each sequence with the length of the prefix that it shares with the one before it."""
    before: Ids = np.empty(0, np.int64)
    for sequence in ordered:
        row = np.asarray(sequence, dtype=np.int64)
        width = min(len(before), len(row))
        different = np.flatnonzero(before[:width] != row[:width])
        yield row, int(different[0]) if len(different) else width
        before = row
