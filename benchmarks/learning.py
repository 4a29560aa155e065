"""Gradients, against the plain way: each call a padded row with its prompt, all logits, the same budget of tokens.

On samples in the shapes of three workflows; both sides have the same model, adapter, samples, loss and micro-batch
budget. The plain way sorts its rows by length, and does not keep roles apart. How far the two gradients differ is a
figure too.
"""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch

from benchmarks import _work
from benchmarks._models import model_of
from benchmarks._plain import PlainLearner
from benchmarks._sides import Ours
from benchmarks._timing import in_turns, ratio, side
from benchmarks.base import Figure, Setting, Target
from counterpoint.algorithms.base import Sample

TARGETS = {"voting": Target(">=", 2.5)}
SAME = {"float32": Target("<=", 1e-4), "bfloat16": Target("<=", 0.05)}
"""Largest difference between the gradients, as a part of their length."""


def learning(setting: Setting) -> Iterator[Figure]:
    size = size_of(setting)
    model = model_of(setting)
    bare = copy.deepcopy(model)  # our learner puts its adapters into the one that it is given
    vocabulary = model.config.vocab_size
    ours = Ours(model, setting, _work.single(_work.TINY, vocabulary))
    (adapter,) = ours.learner.adapters()
    plain = PlainLearner(bare, adapter, max_tokens=ours.config.learner.max_tokens_per_micro_batch)
    for name, shape in _work.SHAPES.items():
        samples = shape(size, vocabulary)
        sides = {"plain": side(partial(plain.backward, samples)), "ours": side(partial(ours.backward, samples))}
        seconds = in_turns(sides, setting.repeats)
        yield ratio(
            f"{name}: plain / ours",
            seconds,
            over="plain",
            under="ours",
            target=TARGETS.get(name),
            calls=len(samples),
            tokens=sum(len(one.call.prompt_ids) + one.tokens for one in samples),
        )
        yield Figure(
            name=f"{name}: difference of the gradients",
            values=[difference(ours, plain, samples)],
            target=SAME[setting.dtype],
        )


def size_of(setting: Setting) -> _work.Size:
    """How much is learned from: large models get large work."""
    full = _work.LARGE if setting.device != "cpu" else _work.MICRO
    return setting.size(full, _work.TINY, replace(full, tasks=max(1, full.tasks // 8)))


def difference(ours: Ours, plain: PlainLearner, samples: Sequence[Sample]) -> float:
    """|ours - plain| / |plain|."""
    parts = [part.gradient for part in ours.backward(samples).values()]
    mine = torch.stack([part.flat for part in parts]).sum(dim=0)  # type: ignore[attr-defined]
    theirs = plain.backward(samples)
    return float((mine - theirs).norm() / theirs.norm())
