"""From episodes to gradients: the credits, advantages, losses and aggregations there are."""

from functools import partial
from typing import TypeVar

from counterpoint.algorithms import advantage, credit, loss
from counterpoint.algorithms.base import AdvantageRule, Algorithm, CreditRule
from counterpoint.algorithms.loss import Aggregation, Loss, TokenLoss
from counterpoint.config import AlgorithmConfig, Spec, check_options
from counterpoint.errors import ConfigError, unknown

_Member = TypeVar("_Member")

CREDITS: dict[str, CreditRule] = {"outcome": credit.outcome, "own": credit.own}
OVER_EPISODES: dict[str, AdvantageRule] = {
    "grpo": advantage.grpo,
    "dr_grpo": advantage.dr_grpo,
    "rloo": advantage.rloo,
}
OVER_CALLS: dict[str, AdvantageRule] = {"role": advantage.role, "role_slot": advantage.role_slot}
TOKEN_LOSSES: dict[str, TokenLoss] = {"reinforce": loss.reinforce, "clip": loss.clip}
AGGREGATIONS: dict[str, Aggregation] = {"token": loss.token, "call": loss.call}


def build_algorithm(config: AlgorithmConfig) -> Algorithm:
    """The credit and advantage that the recipe names. Raises ConfigError, also for a pair that makes no sense."""
    credit_rule = _plain("algorithm.credit", config.credit, CREDITS)
    if config.credit.name == "own" and config.advantage.name in OVER_EPISODES:
        raise ConfigError(
            f"algorithm.advantage = {config.advantage.name!r} compares episodes, but algorithm.credit = 'own' gives the"
            f" calls of an episode rewards of their own; allowed with it: {', '.join([*OVER_CALLS, 'grouped'])}"
        )
    if config.advantage.name == "grouped":
        options = check_options("algorithm.advantage", advantage.grouped, config.advantage.options)
        return Algorithm(credit_rule, partial(advantage.grouped, **options))
    known = {**OVER_EPISODES, **OVER_CALLS}
    if config.advantage.name not in known:
        raise ConfigError(unknown("algorithm.advantage", config.advantage.name, [*known, "grouped"]))
    return Algorithm(credit_rule, _plain("algorithm.advantage", config.advantage, known))


def build_loss(config: AlgorithmConfig) -> Loss:
    """The loss that the recipe names. Raises ConfigError."""
    if config.loss.name not in TOKEN_LOSSES:
        raise ConfigError(unknown("algorithm.loss", config.loss.name, TOKEN_LOSSES))
    function = TOKEN_LOSSES[config.loss.name]
    options = check_options("algorithm.loss", function, config.loss.options)
    return Loss(partial(function, **options), _plain("algorithm.aggregation", config.aggregation, AGGREGATIONS))


def _plain(where: str, spec: Spec, members: dict[str, _Member]) -> _Member:
    if spec.name not in members:
        raise ConfigError(unknown(where, spec.name, members))
    if spec.options:
        raise ConfigError(f"{where} = {spec.name!r} takes no options; {', '.join(spec.options)} given")
    return members[spec.name]
