"""Our sampler and our learner, ready to be timed."""

from collections.abc import Sequence
from typing import Any

from benchmarks._work import ON_A_GPU, POLICY, config_for
from benchmarks.base import Setting
from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.build import build_loss
from counterpoint.learners.base import Contributions
from counterpoint.learners.peft import Peft
from counterpoint.policy import Policy
from counterpoint.samplers._engine import Engine
from counterpoint.samplers.base import Request


class Ours:
    """An engine and a learner on one base, with one adapter that has moved away from it."""

    def __init__(self, model: Any, setting: Setting, warm: Sequence[Sample], *, batch: int = ON_A_GPU) -> None:
        """`warm` is learned from once, so that both matrices of the adapter have a gradient.

        On a GPU a micro-batch has `batch` tokens.
        """
        self.config = config_for(model.name_or_path, setting.device, setting.dtype, batch=batch)
        self._loss = build_loss(self.config)
        self.engine = Engine(model, frozenset())
        self.learner = Peft(model, [Policy(name=POLICY, roles=())], self.config)
        self.learner.step(self.backward(warm), step=1)
        self.publish()

    def publish(self) -> None:
        """Load the learner's weights into the engine."""
        self.engine.load(self.learner.adapters())

    def sample(self, requests: Sequence[Request]) -> None:
        """Raises ValueError if a reply has another length than it was asked for: the work would not be the same."""
        for request, said in zip(requests, self.engine.compute(requests), strict=True):
            if len(said.ids) != request.max_tokens:
                raise ValueError(f"a reply has {len(said.ids)} tokens in place of {request.max_tokens}")

    def backward(self, samples: Sequence[Sample]) -> Contributions:
        return self.learner.backward(samples, self._loss)

    def step(self, requests: Sequence[Request], samples: Sequence[Sample]) -> None:
        """Sampled, learned from, moved, published."""
        self.sample(requests)
        self.learner.step(self.backward(samples), step=1)
        self.publish()
