"""Every step proves what it trained and what its sampler generates with. A violation stops the run and names it."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean
from types import MappingProxyType

from counterpoint.adapter import Adapter
from counterpoint.chat import Chat
from counterpoint.clock import timed
from counterpoint.config import RunConfig
from counterpoint.episode import Call, CallKey, Group, Message, calls_of
from counterpoint.errors import ProofError
from counterpoint.learners.base import Learner
from counterpoint.samplers.base import Completion, Request, Sampler
from counterpoint.samplers.by_policy import scorer_of
from counterpoint.spoken import LARGE, SMALL, Rows, Spoken, agreement, canary, difference, few

Digests = Mapping[str, str]
"""Policy -> the digest of its weights."""
Adapters = Mapping[str, Adapter]
"""Policy -> its weights at some time."""
NO_ADAPTERS: Adapters = MappingProxyType({})
_CANARY_PROMPT = "Count from one to ten, and say what comes next."
_CANARY_CALLS = 4
_CANARY_TOKENS = 8


class Proof:
    """The checks of a run: digests of its weights, and log-probabilities of its calls, from learner and sampler."""

    def __init__(self, learner: Learner, sampler: Sampler, config: RunConfig) -> None:
        self._learner = learner
        self._sampler = sampler
        self._config = config
        self._noise: dict[str, float] = {}
        """Policy -> nats by which rounding alone makes generated log-probabilities differ from the learner's."""
        self.digests: Digests = learner.digests()
        """Those of the learner, when they were last taken."""

    @property
    def policies(self) -> Collection[str]:
        """The policies that the learner holds."""
        return self.digests.keys()

    async def begin(self, chats: Mapping[str, Chat]) -> None:
        """The sampler generates with the learner's weights; if calls are checked, with canaries before.

        Raises ProofError if the sampler generates with anything else.
        """
        if self._config.proof_calls:
            await self._canaries(chats)
        await self._sampler.load(self._learner.adapters())
        self.published()

    async def _canaries(self, chats: Mapping[str, Chat]) -> None:
        """The sampler has generated with random adapters of every policy, as the learner would; it holds them then.

        A large canary is generated with: its log-probabilities are far off the base's. A small one, which is as large
        as a policy after its first step, is scored, if the sampler can.
        """
        adapters = self._learner.adapters()
        large, small = (
            {one.policy: canary(one, reach, seed=place) for place, one in enumerate(adapters)}
            for reach in (LARGE, SMALL)
        )
        await self._sampler.load(list(large.values()))
        calls = await _generated(self._sampler, {name: chats[name] for name in large})
        for policy, adapter in large.items():
            with timed("proof"):
                learned = self._learner.logprobs_with(adapter, calls[policy])
                base = self._learner.base_logprobs(calls[policy])
            spoken = [call.logprobs for call in calls[policy]]
            self._noise[policy] = difference(spoken, learned)
            self._judge(policy, agreement(spoken, learned, base, noise=0.0), "a random")
        await self._sampler.load(list(small.values()))
        for policy, adapter in small.items():
            mine = few(calls[policy])
            learned = self._learner.logprobs_with(adapter, mine)
            self._judge(policy, await self._scored(policy, mine, learned), "a small random")

    async def spoken(self, groups: Sequence[Group], under: Adapters = NO_ADAPTERS) -> dict[str, float]:
        """The numbers of each policy, over the calls of a step that `calls_to_check` chooses.

        `under` has the weights that generated the step, of policies that may have others by now. Raises ProofError as
        `check_versions` and `check_logprobs`, or if the sampler makes another change to log-probabilities than the
        learner.
        """
        check_versions(groups, under)
        calls = calls_to_check(groups, self.policies, self._config.proof_calls)
        largest = check_logprobs(self._learner, calls, self._config.proof_tolerance, under)
        numbers = {f"policy/{policy}/mismatch": value for policy, value in largest.items()}
        if self._config.overlap:
            numbers |= off_policy(self._learner, calls)
        for policy in largest:
            found = await self._change(policy, few([call for call in calls if call.policy == policy]), under)
            if found is not None:
                numbers[f"policy/{policy}/spoken_correlation"] = found.correlation
                numbers[f"policy/{policy}/spoken_share"] = found.share
        return numbers

    async def _change(self, policy: str, calls: Sequence[Call], under: Adapters) -> Spoken | None:
        """The agreement of a policy's change, which is not less than allowed; None if it cannot be told."""
        with timed("proof"):
            now, base = self._learner.logprobs(calls), self._learner.base_logprobs(calls)
            then = logprobs_under(self._learner, calls, under) if policy in under else now
        generated = agreement([call.logprobs for call in calls], then, base, noise=self._noise.get(policy, 0.0))
        scored = await self._scored(policy, calls, now, base)  # by what the sampler has now
        for found in (generated, scored):
            self._judge(policy, found, "its")
        return scored or generated

    async def _scored(
        self, policy: str, calls: Sequence[Call], learned: Rows, base: Rows | None = None
    ) -> Spoken | None:
        """The agreement of the changes of the same tokens; None if it cannot be told, or the sampler scores none."""
        scorer = scorer_of(self._sampler, policy)
        if scorer is None:
            return None
        with timed("proof"):
            base = base or self._learner.base_logprobs(calls)
            spoken, spoken_base = await scorer.logprobs(calls), await scorer.logprobs(calls, base=True)
        # Without an adapter nothing but rounding can make the sides differ.
        noise = difference(spoken_base, base)
        return agreement(spoken, learned, base, noise=noise, sampler_base=spoken_base)

    def _judge(self, policy: str, found: Spoken | None, whose: str) -> None:
        least = self._config.proof_spoken
        if found is not None and least and found.is_less_than(least):
            raise ProofError(
                f"policy {policy!r}: the sampler does not generate with {whose} adapter as the learner has it: its"
                f" change of log-probabilities from the base has a correlation of {found.correlation:.3f} with the"
                f" learner's, and is {found.share:.3f} of it (run.proof_spoken allows {least:g} at least). A sampler of"
                " your own must compute W x + scale * (B (A x)) with the adapter that it was last given, and must not"
                " merge it into weights of half precision; with the shipped sampler this is a fault of Counterpoint:"
                " report it. run.proof_spoken = 0 trains without this check"
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


def check_versions(groups: Sequence[Group], under: Adapters) -> None:
    """Raises ProofError unless every call of a policy in `under` was generated with the weights there."""
    for episode, call in calls_of(groups):
        known = under.get(call.policy)
        if known is not None and call.version != known.version:
            raise ProofError(
                f"policy {call.policy!r}: a call by {call.key.role} in an episode of task {episode.task!r} was"
                f" generated with version {call.version}, but the episode began with version {known.version}"
            )


@timed("proof")
def check_logprobs(
    learner: Learner, calls: Sequence[Call], tolerance: float, under: Adapters = NO_ADAPTERS
) -> dict[str, float]:
    """Policy -> the largest difference, in nats, between log-probabilities of the sampler and of the learner.

    The learner's are `logprobs_under`. Raises ProofError if a difference is above `tolerance`, or is not a number.
    """
    largest: dict[str, float] = {}
    for call, recomputed in zip(calls, logprobs_under(learner, calls, under), strict=True):
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


def logprobs_under(learner: Learner, calls: Sequence[Call], under: Adapters) -> list[list[float]]:
    """The learner's log-probability (nats) of each token, by the weights of its policy in `under`, else by its own."""
    places: dict[str | None, list[int]] = {}
    for place, call in enumerate(calls):
        places.setdefault(call.policy if call.policy in under else None, []).append(place)
    found: dict[int, list[float]] = {}
    for policy, mine in places.items():
        own = [calls[place] for place in mine]
        rows = learner.logprobs(own) if policy is None else learner.logprobs_with(under[policy], own)
        found |= dict(zip(mine, rows, strict=True))
    return [found[place] for place in range(len(calls))]


@timed("proof")
def off_policy(learner: Learner, calls: Sequence[Call]) -> dict[str, float]:
    """For each policy the mean difference (nats) of its tokens' log-probabilities now from those that were recorded."""
    apart: dict[str, list[float]] = {}
    for call, now in zip(calls, learner.logprobs(calls), strict=True):
        own = [abs(mine - theirs) for mine, theirs in zip(now, call.logprobs, strict=True)]
        apart.setdefault(call.policy, []).extend(own)
    return {f"policy/{policy}/off_policy": fmean(values) for policy, values in apart.items() if values}


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


async def _generated(sampler: Sampler, chats: Mapping[str, Chat]) -> dict[str, list[Call]]:
    """Policy -> a few calls that the sampler generates now, all at once as in a step."""
    prompts = {name: chat.prompt([Message(role="user", content=_CANARY_PROMPT)]) for name, chat in chats.items()}
    requests = [
        Request(
            policy=policy,
            prompt_ids=prompt,
            messages=(Message(role="user", content=_CANARY_PROMPT),),
            max_tokens=_CANARY_TOKENS,
            temperature=1.0,
            seed=seed,
        )
        for policy, prompt in prompts.items()
        for seed in range(_CANARY_CALLS)
    ]
    with sampler.session() as session:
        said = await asyncio.gather(*(session.sample(request) for request in requests))
    pairs = list(zip(requests, said, strict=True))
    return {policy: [_call(*pair) for pair in pairs if pair[0].policy == policy] for policy in prompts}


def _call(request: Request, said: Completion) -> Call:
    return Call(
        key=CallKey("canary", 0, 0),
        policy=request.policy,
        version=said.version,
        messages=request.messages,
        prompt_ids=request.prompt_ids,
        completion_ids=said.ids,
        logprobs=said.logprobs,
        text="",
        finish=said.finish,
        seed=request.seed,
        temperature=request.temperature,
    )
