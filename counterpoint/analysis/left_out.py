"""The AUC of a number that tells runs that fell later from others, in cells that had no part in its direction."""

from collections.abc import Sequence

import numpy as np


def left_out_auc(values: Sequence[float], fell: Sequence[bool], cells: Sequence[str]) -> float | None:
    """The chance that a run that fell later is told from one that held, with their cells left out; None if unknown.

    For every pair of a run that fell and one that held, the runs of all other cells say if higher or lower values fall
    more often; the pair counts 1 if that is true of it, 1/2 for equal values, 0 else. Pairs are left out for which the
    other cells cannot say. Where all cells agree on the direction, it is the AUC of Mann and Whitney (1947).
    """
    found, is_fall = np.asarray(values, dtype=float), np.asarray(fell, dtype=bool)
    names, of = np.unique(np.asarray(cells, dtype=str), return_inverse=True)
    wins, pairs = np.zeros((len(names), len(names))), np.zeros((len(names), len(names)))
    higher = (np.sign(found[is_fall][:, None] - found[~is_fall][None, :]) + 1) / 2
    where = np.broadcast_arrays(of[is_fall][:, None], of[~is_fall][None, :])
    np.add.at(wins, (where[0], where[1]), higher)
    np.add.at(pairs, (where[0], where[1]), 1.0)
    right = counted = 0.0
    for one, other in zip(*np.nonzero(pairs), strict=True):
        kept = [place for place in range(len(names)) if place not in (one, other)]
        ahead = float((2 * wins - pairs)[np.ix_(kept, kept)].sum())
        if ahead:
            right += wins[one, other] if ahead > 0 else pairs[one, other] - wins[one, other]
            counted += pairs[one, other]
    return float(right / counted) if counted else None
