"""From episodes to gradients: the credits, advantages, losses and all between, as a recipe names them."""

import inspect
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from counterpoint.algorithms import advantage, aggregation, batches, correction, credit, kl, loss, overlong
from counterpoint.algorithms.base import Algorithm, Baselines
from counterpoint.algorithms.batches import Batches
from counterpoint.algorithms.loss import Loss
from counterpoint.config import Config, Spec, check_options
from counterpoint.errors import ConfigError, unknown

Members = dict[str, Callable[..., Any]]

CREDITS: Members = {
    "outcome": credit.outcome,
    "own": credit.own,
    "mix": credit.mix,
    "help_hurt": credit.help_hurt,
}
OVER_EPISODES: Members = {
    "grpo": advantage.grpo,
    "dr_grpo": advantage.dr_grpo,
    "rloo": advantage.rloo,
    "reinforce_pp": advantage.reinforce_pp,
}
OVER_CALLS: Members = {
    "role": advantage.role,
    "role_slot": advantage.role_slot,
    "role_turn": advantage.role_turn,
    "prompt": advantage.prompt,
    "hierarchical": advantage.hierarchical,
    "rae": advantage.rae,
    "grouped": advantage.grouped,
}
LOSSES: Members = {
    "reinforce": loss.reinforce,
    "clip": loss.clip,
    "gspo": loss.gspo,
    "cispo": loss.cispo,
    "sapo": loss.sapo,
}
AGGREGATIONS: Members = {"token": aggregation.token, "call": aggregation.call, "constant": aggregation.constant}
CORRECTIONS: Members = {
    "none": correction.uncorrected,
    "truncated": correction.truncated,
    "sequence": correction.sequence,
}
KLS: Members = {"none": kl.none, "k1": kl.k1, "k2": kl.k2, "k3": kl.k3}
OVERLONG: Members = {"keep": overlong.keep, "mask": overlong.mask, "soft": overlong.soft}


def build_algorithm(config: Config, roles: Collection[str], trainable: Collection[str]) -> Algorithm:
    """The credit, the advantage and all around them that the recipe names, for these roles and trained policies.

    Raises ConfigError, also for combinations that make no sense.
    """
    algorithm = config.algorithm
    baselines: Baselines = {}
    rule = _bound("algorithm.credit", algorithm.credit, CREDITS)
    solo = _solo(rule, roles) if algorithm.credit.name == "help_hurt" else None
    too_long = _bound("algorithm.overlong", algorithm.overlong, OVERLONG, max_tokens=config.rollout.max_tokens)
    advantage_rule = _bound("algorithm.advantage", algorithm.advantage, OVER_EPISODES | OVER_CALLS, baselines=baselines)
    _refuse_what_makes_no_sense(config)
    return Algorithm(
        credit=rule,
        advantage=advantage_rule,
        trainable=frozenset(trainable),
        overlong=too_long(),
        keeps_without_signal=algorithm.without_signal == "keep",
        solo=solo,
        baselines=baselines,
    )


def build_loss(config: Config) -> Loss:
    """The loss that the recipe names. Raises ConfigError."""
    algorithm = config.algorithm
    mean = _bound("algorithm.aggregation", algorithm.aggregation, AGGREGATIONS, max_tokens=config.rollout.max_tokens)
    if algorithm.role_weights == "balance":
        mean = partial(aggregation.balanced, aggregation=mean)
    if algorithm.calls_per_update:
        mean = partial(aggregation.nominal, aggregation=mean, calls=algorithm.calls_per_update)
    anchor = _bound("algorithm.kl", algorithm.kl, KLS)
    return Loss(
        token_loss=_bound("algorithm.loss", algorithm.loss, LOSSES),
        aggregation=mean,
        correction=_bound("algorithm.correction", algorithm.correction, CORRECTIONS),
        kl=None if algorithm.kl.name == "none" else anchor,
        anchor=algorithm.anchor,
    )


def build_batches(config: Config) -> Batches:
    """How the samples of a step are split into optimizer steps."""
    if config.algorithm.calls_per_update:
        return partial(batches.by_calls, calls=config.algorithm.calls_per_update)
    return partial(batches.stratified, updates=config.algorithm.updates)


def _bound(where: str, spec: Spec, members: Members, **context: Any) -> Callable[..., Any]:
    """The member that the recipe names, its options checked and bound, and what it wants to know of the `context`."""
    if spec.name not in members:
        raise ConfigError(unknown(where, spec.name, members))
    member = members[spec.name]
    parameters = inspect.signature(member).parameters
    known = {name: value for name, value in context.items() if name in parameters}
    own = [name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY and name not in known]
    if spec.options and not own:
        raise ConfigError(f"{where} = {spec.name!r} takes no options; {', '.join(spec.options)} given")
    return partial(member, **check_options(where, member, spec.options, skip=set(known)), **known)


def _solo(rule: Callable[..., Any], roles: Collection[str]) -> str:
    """The role that plays alone. Raises ConfigError if it, or one that advises, does not exist."""
    options = rule.keywords if isinstance(rule, partial) else {}
    for role in (options["solo"], *options["roles"]):
        if role not in roles:
            raise ConfigError("algorithm.credit: " + unknown("role", role, roles))
    return str(options["solo"])


def _refuse_what_makes_no_sense(config: Config) -> None:
    """Raises ConfigError with the reason."""
    algorithm = config.algorithm
    name, several = algorithm.advantage.name, algorithm.updates > 1 or algorithm.calls_per_update > 0
    if name in OVER_EPISODES:
        _refuse_rewards_of_calls(config)
    if config.rollout.group_size == 1 and (name in OVER_EPISODES or name == "role_slot"):
        raise ConfigError(
            f"algorithm.advantage = {name!r} compares episodes of a task, but rollout.group_size = 1 plays one;"
            " play at least 2, or use: rae"
        )
    if algorithm.updates > 1 and algorithm.calls_per_update:
        raise ConfigError("algorithm.updates and algorithm.calls_per_update both say how a step is split: set one")
    if several and algorithm.loss.name == "reinforce":
        raise ConfigError(
            "algorithm.loss = 'reinforce' has no ratio to account for the weights having moved since the samples were"
            f" drawn, so it takes one update a step; with several use: {', '.join(list(LOSSES)[1:])}"
        )
    if algorithm.role_weights == "balance" and algorithm.calls_per_update:
        raise ConfigError(
            "algorithm.role_weights = 'balance' balances the roles of a mini-batch, but with algorithm.calls_per_update"
            " some mini-batches hold one role alone; use algorithm.updates"
        )
    if algorithm.loss.name == "reinforce" and algorithm.anchor == "sampler":
        raise ConfigError("algorithm.loss = 'reinforce' has no ratio that algorithm.anchor could say anything about")
    if algorithm.correction.name != "none" and algorithm.anchor == "sampler":
        raise ConfigError(
            f"algorithm.correction = {algorithm.correction.name!r} corrects from the sampler to the learner, but with"
            " algorithm.anchor = 'sampler' the ratio is taken to the sampler already: the difference would count twice"
        )
    if algorithm.correction.name == "truncated" and algorithm.loss.name == "gspo":
        raise ConfigError(
            "algorithm.loss = 'gspo' weighs whole calls, algorithm.correction = 'truncated' single tokens;"
            " allowed with it: none, sequence"
        )
    if algorithm.resample and name == "rae":
        raise ConfigError("algorithm.resample replaces tasks without signal, but with 'rae' every call has signal")
    if algorithm.overlong.name == "soft" and algorithm.overlong.options.get("buffer", 0) > config.rollout.max_tokens:
        raise ConfigError(f"algorithm.overlong.buffer is longer than rollout.max_tokens = {config.rollout.max_tokens}")


def _refuse_rewards_of_calls(config: Config) -> None:
    algorithm = config.algorithm
    name, others = algorithm.advantage.name, ", ".join(OVER_CALLS)
    if algorithm.credit.name != "outcome":
        raise ConfigError(
            f"algorithm.advantage = {name!r} compares episodes, but algorithm.credit = {algorithm.credit.name!r} gives"
            f" the calls of an episode rewards of their own; allowed with it: {others}"
        )
    if algorithm.overlong.name == "soft":
        raise ConfigError(
            f"algorithm.advantage = {name!r} compares episodes, but algorithm.overlong = 'soft' takes from the calls of"
            f" an episode according to their own length; allowed with it: {others}"
        )
