"""Every step proves what it trained. A violation stops the run and says which it is."""

from collections.abc import Collection, Mapping, Sequence

from counterpoint.clock import timed
from counterpoint.config import RunConfig
from counterpoint.episode import Call, Group, calls_of
from counterpoint.errors import ProofError
from counterpoint.learners.base import Learner
from counterpoint.samplers.base import Sampler

Digests = Mapping[str, str]
"""Policy -> the digest of its weights."""


class Proof:
    """The digests of a run's weights, taken once per training step from the learner and once from the sampler."""

    def __init__(self, learner: Learner, sampler: Sampler) -> None:
        self._learner = learner
        self._sampler = sampler
        self.digests: Digests = learner.digests()
        """Those of the learner, when they were last taken."""

    @property
    def policies(self) -> Collection[str]:
        """The policies that the learner holds."""
        return self.digests.keys()

    def logprobs(self, groups: Sequence[Group], config: RunConfig) -> dict[str, float]:
        """`check_logprobs` over the calls of a step that `calls_to_check` chooses."""
        return check_logprobs(
            self._learner, calls_to_check(groups, self.policies, config.proof_calls), config.proof_tolerance
        )

    @timed("proof")
    def restored(self, saved: Digests) -> None:
        """The learner was loaded from a checkpoint, which has these digests. Raises ProofError if it differs."""
        self.digests = self._learner.digests()
        check_restored(saved, self.digests)

    @timed("proof")
    def moved(self, trained: Collection[str]) -> None:
        """The policies in `trained` were updated. Raises ProofError unless exactly those have other weights now."""
        before, self.digests = self.digests, self._learner.digests()
        check_moves(before, self.digests, trained)

    @timed("proof")
    def published(self) -> None:
        """The sampler was given the learner's weights. Raises ProofError unless it generates with them."""
        check_published(self.digests, self._sampler.digests())


@timed("proof")
def check_logprobs(learner: Learner, calls: Sequence[Call], tolerance: float) -> dict[str, float]:
    """Policy -> the largest difference, in nats, between log-probabilities of the sampler and of the learner.

    Raises ProofError if a difference is above `tolerance`, or is not a number.
    """
    largest: dict[str, float] = {}
    for call, recomputed in zip(calls, learner.logprobs(calls), strict=True):
        for place, (mine, theirs) in enumerate(zip(recomputed, call.logprobs, strict=True)):
            difference = abs(mine - theirs)
            if not difference <= tolerance:
                raise ProofError(
                    f"policy {call.policy!r}: the sampler gave token {place} of a call by {call.key.role} (version"
                    f" {call.version}) a log-probability of {theirs:.6f}, the learner {mine:.6f}: they differ by more"
                    f" than run.proof_tolerance = {tolerance:g}"
                )
            largest[call.policy] = max(largest.get(call.policy, 0.0), difference)
    return largest


def calls_to_check(groups: Sequence[Group], policies: Collection[str], count: int) -> list[Call]:
    """`count` calls of each of `policies`, which the learner holds, spread evenly over the step."""
    by_policy: dict[str, list[Call]] = {}
    for _, call in calls_of(groups):
        if call.policy in policies:
            by_policy.setdefault(call.policy, []).append(call)
    return [
        calls[place * len(calls) // min(count, len(calls))]
        for calls in by_policy.values()
        for place in range(min(count, len(calls)))
    ]


def check_moves(before: Digests, after: Digests, trained: Collection[str]) -> None:
    """Raises ProofError unless exactly the policies in `trained` have other weights than before."""
    for policy in after:
        changed = before[policy] != after[policy]
        if policy in trained and not changed:
            raise ProofError(f"policy {policy!r} was trained, but its weights are the same as before the step")
        if policy not in trained and changed:
            raise ProofError(f"policy {policy!r} had no signal in this step, but its weights have changed")


def check_restored(saved: Digests, learner: Digests) -> None:
    """Raises ProofError unless the learner holds exactly the weights that were saved."""
    for policy, digest in saved.items():
        if learner.get(policy) != digest:
            found = learner.get(policy, "nothing")[:12]
            raise ProofError(f"policy {policy!r}: the checkpoint has digest {digest[:12]}, the loaded weights {found}")


def check_published(learner: Digests, sampler: Digests) -> None:
    """Raises ProofError unless the sampler generates with the learner's weights, for every policy."""
    for policy, digest in learner.items():
        if sampler.get(policy) != digest:
            found = sampler.get(policy, "nothing")[:12]
            raise ProofError(f"policy {policy!r}: the learner holds {digest[:12]}, the sampler generates with {found}")
