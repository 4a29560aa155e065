"""Checks of the results of credits, advantages and losses that users wrote: a wrong shape would train silently."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from counterpoint.algorithms.base import AdvantageRule, Credit, CreditRule, Sample
from counterpoint.algorithms.loss import TokenLoss, Tokens
from counterpoint.episode import CallKey, Group
from counterpoint.errors import ConfigError, blamed

if TYPE_CHECKING:
    from torch import Tensor

_OWN = ""
"""The module of what is checked here: never one of this package."""


def checked_credit(name: str, rule: Callable[..., Any]) -> CreditRule:
    """`rule`, which raises ConfigError if it returns anything but a list of `Credit` with finite rewards."""

    def credit(groups: Sequence[Group]) -> list[Credit]:
        with blamed(f"algorithm.credit = {name!r}", _OWN):
            found = rule(groups)
        _refuse_others(f"algorithm.credit = {name!r}", found, Credit)
        for one in found:
            _refuse_infinite(f"algorithm.credit = {name!r}", one.call.key, one.reward)
        return list(found)

    return credit


def checked_advantage(name: str, rule: Callable[..., Any]) -> AdvantageRule:
    """`rule`, which raises ConfigError if it does not return one `Sample` per `Credit`, in their order."""

    def advantage(credits: Sequence[Credit]) -> list[Sample]:
        with blamed(f"algorithm.advantage = {name!r}", _OWN):
            found = rule(credits)
        _refuse_others(f"algorithm.advantage = {name!r}", found, Sample)
        if [_place(one) for one in found] != [_place(one) for one in credits]:
            raise ConfigError(
                f"algorithm.advantage = {name!r} must return one sample per credit, in their order: {len(credits)}"
                f" credits; it returned {len(found)}"
            )
        for one in found:
            _refuse_infinite(f"algorithm.advantage = {name!r}", one.call.key, one.advantage)
        return list(found)

    return advantage


def checked_loss(name: str, loss: Callable[..., Any]) -> TokenLoss:
    """`loss`, which raises ConfigError if its result has not the shape (C, T) of the log-probabilities."""

    def token_loss(tokens: Tokens) -> "Tensor":
        from torch import Tensor  # not above: the options of a loss are checked without torch

        with blamed(f"algorithm.loss = {name!r}", _OWN):
            found = loss(tokens)
        shape = tuple(tokens.logprobs_CT.shape)
        if not isinstance(found, Tensor) or tuple(found.shape) != shape:
            what = f"a tensor of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ConfigError(
                f"algorithm.loss = {name!r} must return a tensor of shape (calls, tokens) = {shape}, not {what}"
            )
        if tokens.logprobs_CT.requires_grad and not found.requires_grad:
            raise ConfigError(
                f"algorithm.loss = {name!r} returned a tensor without a gradient: it must be computed from"
                " tokens.logprobs_CT, without detach() or no_grad()"
            )
        return found

    return token_loss


def _place(one: Credit | Sample) -> tuple[str, int, CallKey]:
    return one.task, one.rollout, one.call.key


def _refuse_others(where: str, found: Any, member: type) -> None:
    if not isinstance(found, list | tuple):
        raise ConfigError(f"{where} must return a list of {member.__name__}, not {type(found).__name__}")
    for one in found:
        if not isinstance(one, member):
            raise ConfigError(f"{where} must return a list of {member.__name__}; {type(one).__name__} is in it")


def _refuse_infinite(where: str, key: CallKey, value: Any) -> None:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{where} must give every call a finite number; {'/'.join(map(str, key))} got {value!r}")
