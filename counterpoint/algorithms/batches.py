"""The samples of a training step, split into the optimizer steps that are taken with them."""

import random
from collections.abc import Callable, Sequence

from counterpoint.algorithms.base import Sample

Batches = Callable[[Sequence[Sample], str], list[list[Sample]]]
"""(samples in the loss, a seed) -> one list per update, at least one; a policy may be missing from the later ones."""


def stratified(samples: Sequence[Sample], seed: str, *, updates: int) -> list[list[Sample]]:
    """`updates` mini-batches, in each of which every role of every policy has an equal part of its samples, shuffled.

    A role's parts differ by one sample at most, and so do the whole batches. No policy takes more steps than another,
    as long as it has samples for them.
    """
    batches: list[list[Sample]] = [[] for _ in range(updates)]
    dealt = 0
    for policy, role in dict.fromkeys((sample.call.policy, sample.call.key.role) for sample in samples):
        mine = [sample for sample in samples if (sample.call.policy, sample.call.key.role) == (policy, role)]
        if updates > 1:
            random.Random(f"{seed}/{policy}/{role}").shuffle(mine)
        for place in range(updates):
            batches[(dealt + place) % updates] += mine[place::updates]
        dealt += len(mine)
    return [batch for batch in batches if batch] or [[]]


def by_calls(samples: Sequence[Sample], seed: str, *, calls: int) -> list[list[Sample]]:
    """Mini-batches of `calls` samples per policy, the last one smaller: more calls mean more optimizer steps.

    A policy's samples are taken by total length, from short to long and back, as in the study (arXiv 2605.24202), so
    its mini-batches differ in the roles they hold.
    """
    batches: list[list[Sample]] = []
    for policy in dict.fromkeys(sample.call.policy for sample in samples):
        mine = sorted(
            (sample for sample in samples if sample.call.policy == policy),
            key=lambda sample: len(sample.call.prompt_ids) + sample.tokens,
        )
        there_and_back = [*mine[::2], *mine[1::2][::-1]]
        for place, first in enumerate(range(0, len(there_and_back), calls)):
            if place == len(batches):
                batches.append([])
            batches[place] += there_and_back[first : first + calls]
    return batches or [[]]
