"""The algorithm, the loss and the mini-batches that a recipe names, and the combinations that are refused."""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from counterpoint.algorithms import (
    ADVANTAGES,
    AGGREGATIONS,
    CORRECTIONS,
    CREDITS,
    KLS,
    LOSSES,
    OVER_CALLS,
    OVER_EPISODES,
    OVERLONG,
    aggregation,
    batches,
)
from counterpoint.algorithms.base import Algorithm, Baselines
from counterpoint.algorithms.batches import Batches
from counterpoint.algorithms.checked import checked_advantage, checked_credit, checked_loss
from counterpoint.algorithms.loss import Loss
from counterpoint.config import Config
from counterpoint.errors import ConfigError, unknown
from counterpoint.family import Family, is_own
from counterpoint.options import Spec

_BY = dict.fromkeys(("role", "role_turn", "prompt", "hierarchical"), ("task", "role"))
"""Advantage -> parts in which all calls that it compares agree, whatever else they agree in."""


def build_algorithm(config: Config, roles: Collection[str], trainable: Collection[str]) -> Algorithm:
    """The rules by which the episodes of these roles become samples of the trainable policies.

    Raises ConfigError for a member or option that does not exist, and for combinations that contradict themselves.
    """
    algorithm = config.algorithm
    baselines: Baselines = {}
    credit = _member("credit", algorithm.credit, CREDITS)
    _refuse_unknown_roles(algorithm.credit, roles)
    solo = str(algorithm.credit.options["solo"]) if algorithm.credit.name == "help_hurt" else None
    too_long = _member("overlong", algorithm.overlong, OVERLONG, max_tokens=config.rollout.max_tokens)
    advantage = _member("advantage", algorithm.advantage, ADVANTAGES, baselines=baselines)
    _refuse_contradictions(config)
    _refuse_to_resample(config, advantage)
    return Algorithm(
        credit=checked_credit(algorithm.credit.name, credit) if is_own(algorithm.credit.name) else credit,
        advantage=checked_advantage(algorithm.advantage.name, advantage)
        if is_own(algorithm.advantage.name)
        else advantage,
        trainable=frozenset(trainable),
        overlong=too_long(),
        keeps_without_signal=algorithm.without_signal == "keep",
        solo=solo,
        baselines=baselines,
    )


def build_loss(config: Config) -> Loss:
    """The loss that the recipe names, with its aggregation, correction and KL. Raises ConfigError."""
    algorithm = config.algorithm
    mean = _member("aggregation", algorithm.aggregation, AGGREGATIONS, max_tokens=config.rollout.max_tokens)
    if algorithm.role_weights == "balance":
        mean = partial(aggregation.balanced, aggregation=mean)
    if algorithm.calls_per_update:
        mean = partial(aggregation.nominal, aggregation=mean, calls=algorithm.calls_per_update)
    token_loss, kl = _member("loss", algorithm.loss, LOSSES), _member("kl", algorithm.kl, KLS)
    return Loss(
        token_loss=checked_loss(algorithm.loss.name, token_loss) if is_own(algorithm.loss.name) else token_loss,
        aggregation=mean,
        correction=_member("correction", algorithm.correction, CORRECTIONS),
        kl=None if algorithm.kl.name == "none" else kl,
        old_logprobs=algorithm.old_logprobs,
    )


def build_batches(config: Config) -> Batches:
    """The rule that splits the samples of a step into one mini-batch per optimizer step."""
    if config.algorithm.calls_per_update:
        return partial(batches.by_calls, calls=config.algorithm.calls_per_update)
    return partial(batches.stratified, updates=config.algorithm.updates)


def _member(key: str, spec: Spec, family: Family[Any], **context: Any) -> Callable[..., Any]:
    return family.bind(spec, f"algorithm.{key}", **context)


def _refuse_unknown_roles(credit: Spec, roles: Collection[str]) -> None:
    """Raises ConfigError if a shipped credit names a role that does not exist."""
    named = {"help_hurt": ("solo", "roles"), "added": ("roles",)}.get(credit.name, ())
    for option in named:
        value = credit.options[option]
        for role in [value] if isinstance(value, str) else value:
            if role not in roles:
                raise ConfigError("algorithm.credit: " + unknown("role", role, roles))


def _refuse_contradictions(config: Config) -> None:
    """Raises ConfigError with the reason, and what is allowed instead."""
    algorithm = config.algorithm
    name = algorithm.advantage.name
    if name in OVER_EPISODES:
        _refuse_rewards_of_calls(config)
    if config.rollout.group_size == 1 and (name in OVER_EPISODES or name == "role_slot"):
        raise ConfigError(
            f"algorithm.advantage = {name!r} compares episodes of a task, but rollout.group_size = 1 plays one;"
            " play at least 2, or use: rae"
        )
    _refuse_equal_rewards(config)
    if algorithm.updates > 1 and algorithm.calls_per_update:
        raise ConfigError("algorithm.updates and algorithm.calls_per_update both say how a step is split: set one")
    if algorithm.role_weights == "balance" and algorithm.calls_per_update:
        raise ConfigError(
            "algorithm.role_weights = 'balance' balances the roles of a mini-batch, but with algorithm.calls_per_update"
            " some mini-batches hold one role alone; use algorithm.updates"
        )
    _refuse_losses(config)
    if algorithm.overlong.name == "soft" and algorithm.overlong.options.get("buffer", 0) > config.rollout.max_tokens:
        raise ConfigError(f"algorithm.overlong.buffer is longer than rollout.max_tokens = {config.rollout.max_tokens}")


def _refuse_equal_rewards(config: Config) -> None:
    """Raises ConfigError if all calls that are compared are of one episode, which gives them the same reward."""
    algorithm = config.algorithm
    name, credit = algorithm.advantage.name, algorithm.credit.name
    by = algorithm.advantage.options.get("by", ()) if name == "grouped" else _BY.get(name, ())
    # Help and hurt are the same for all calls of a role in an episode.
    alike = credit == "outcome" or (credit == "help_hurt" and "role" in by)
    if config.rollout.group_size == 1 and "task" in by and alike and algorithm.overlong.name != "soft":
        raise ConfigError(
            f"algorithm.advantage = {name!r} compares calls on a task, but with rollout.group_size = 1 and"
            f" algorithm.credit = {credit!r} those that it compares have equal rewards; play at least 2, or use: rae"
        )


def _refuse_losses(config: Config) -> None:
    algorithm = config.algorithm
    name, correction, several = algorithm.loss.name, algorithm.correction.name, _takes_several_updates(config)
    if several and name == "reinforce":
        others = ", ".join(one for one in LOSSES.members if one != "reinforce")
        raise ConfigError(
            "algorithm.loss = 'reinforce' has no ratio to account for the weights having moved since the samples were"
            f" drawn, so it takes one update per step; with several use: {others}"
        )
    if name == "reinforce" and algorithm.old_logprobs == "sampler":
        raise ConfigError(
            "algorithm.loss = 'reinforce' has no ratio, so it uses no old log-probabilities; leave out"
            " algorithm.old_logprobs = 'sampler'"
        )
    if correction != "none" and algorithm.old_logprobs == "sampler":
        raise ConfigError(
            f"algorithm.correction = {correction!r} corrects from the sampler to the learner, but with"
            " algorithm.old_logprobs = 'sampler' the ratio does so already: the difference would count twice"
        )
    if correction == "truncated" and name == "gspo":
        raise ConfigError(
            "algorithm.loss = 'gspo' weighs whole calls, algorithm.correction = 'truncated' single tokens;"
            " allowed with it: none, sequence"
        )


def _takes_several_updates(config: Config) -> bool:
    return config.algorithm.updates > 1 or config.algorithm.calls_per_update > 0


def _refuse_to_resample(config: Config, advantage: Callable[..., Any]) -> None:
    """To ask which tasks have no signal computes advantages, which would move the baselines of a rule that has any."""
    name, resample = config.algorithm.advantage.name, config.algorithm.resample
    if resample and name == "rae":
        raise ConfigError("algorithm.resample replaces tasks without signal, but with 'rae' every call has signal")
    if resample and isinstance(advantage, partial) and "baselines" in advantage.keywords:
        raise ConfigError(
            f"algorithm.resample asks for the signal of a task before the step, which would move the baselines of"
            f" algorithm.advantage = {name!r}; use algorithm.resample = 0"
        )


def _refuse_rewards_of_calls(config: Config) -> None:
    algorithm = config.algorithm
    name, others = algorithm.advantage.name, ", ".join(OVER_CALLS)
    if algorithm.credit.name != "outcome" and not is_own(algorithm.credit.name):
        raise ConfigError(
            f"algorithm.advantage = {name!r} compares episodes, but algorithm.credit = {algorithm.credit.name!r} gives"
            f" the calls of an episode rewards of their own; allowed with it: {others}"
        )
    if algorithm.overlong.name == "soft":
        raise ConfigError(
            f"algorithm.advantage = {name!r} compares episodes, but algorithm.overlong = 'soft' takes from the calls of"
            f" an episode according to their own length; allowed with it: {others}"
        )
