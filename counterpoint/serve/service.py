"""The workflow that is served: it plays what a request asks for."""

import secrets
from dataclasses import dataclass, replace

from counterpoint.episode import Episode
from counterpoint.errors import EndpointError, WorkflowError
from counterpoint.play import Limits, Stage, rollout
from counterpoint.serve.asking import Ask
from counterpoint.task import Problem, Score, Task, not_judged

_GREEDY = 1e-6
"""The temperature used in place of 0, because samplers divide by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """An open workflow that answers problems. Requests that are played at the same time share their batches."""

    name: str
    """The model name that a request must give."""
    stage: Stage
    limits: Limits
    like: Problem
    """One of the run's problems, from which the answer format and the reading of answers are taken."""

    async def play(self, ask: Ask) -> list[Episode]:
        """The episodes of a request.

        Raises WorkflowError if the workflow fails on the problem, EndpointError if a server that generates for a role
        cannot be reached, EngineError if the sampler died.
        """
        seed = secrets.randbits(63) if ask.seed is None else ask.seed
        task = Task(problem=replace(self.like, id="asked", text=ask.text), key="", judge=_unjudged)
        (group,) = await rollout(self.stage, [task], self._limits(ask), size=ask.choices, seed=f"{seed}/serve")
        for episode in group.episodes:
            if episode.error is not None:
                kind = EndpointError if episode.error_kind == "endpoint" else WorkflowError
                raise kind(episode.error)
        return list(group.episodes)

    def _limits(self, ask: Ask) -> Limits:
        """The run's limits; a request may set the temperature and ask for shorter replies, not for longer ones."""
        temperature = self.limits.temperature if ask.temperature is None else max(ask.temperature, _GREEDY)
        most = min(self.limits.max_tokens, ask.max_tokens or self.limits.max_tokens)
        return replace(self.limits, temperature=temperature, max_tokens=most)


async def _unjudged(answer: str, key: str) -> Score:
    return not_judged("the right answer is not known")
