"""The loss of a policy: a value per token, times the weight of each token in the policy's whole update.

Shapes: C calls, T tokens; C1 one value per call. Symbols: l a token's log-probability, l_old its old one, rho = exp(l -
l_old) the ratio, A the call's advantage. The weights carry every denominator, computed once per policy over the whole
optimizer step, so a loss over any subset of calls (a role, a micro-batch) is a plain weighted sum, and the parts add
up to the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from pydantic import Field

from counterpoint.algorithms.aggregation import Aggregation
from counterpoint.algorithms.correction import Correction, uncorrected
from counterpoint.algorithms.kl import KlTerm
from counterpoint.errors import LearnerError

if TYPE_CHECKING:
    from torch import Tensor


class Tokens(NamedTuple):
    """The arguments of a loss. Where `mask_CT` is 0 there is padding, and the log-probabilities are 0."""

    logprobs_CT: Tensor
    """Under the weights being trained; gradients flow through these alone."""
    old_CT: Tensor
    """The old log-probabilities of the ratio."""
    sampled_CT: Tensor
    """Those that the sampler reported."""
    base_CT: Tensor | None
    """Under the base without adapter; None without a KL."""
    mask_CT: Tensor
    advantages_C1: Tensor


TokenLoss = Callable[[Tokens], "Tensor"]
"""Tokens -> loss_CT, before masks and weights. A member of `LOSSES` is one, with its options keyword-only."""
LOG_RATIO_LIMIT = 20.0
"""Bound on a log-ratio before it is exponentiated, so that no float32 overflows."""


class TokenValues(NamedTuple):
    loss_CT: Tensor
    facts: Mapping[str, Tensor]
    """Name -> one value per token (C, T): `clipped` and `corrected` 0 or 1, and `kl` in nats if there is a KL."""


@dataclass(frozen=True, slots=True)
class Loss:
    """The whole objective of a policy, which training minimizes."""

    token_loss: TokenLoss
    aggregation: Aggregation
    correction: Correction = uncorrected
    kl: KlTerm | None = None
    kl_of: Mapping[str, KlTerm] = field(default_factory=dict)
    """Role -> the KL that replaces `kl` in the loss of its calls."""
    old_logprobs: Literal["learner", "sampler"] = "learner"
    """Whose log-probabilities are the old ones of the ratio: the learner's before the step, or the sampler's."""

    def of(self, role: str) -> Loss:
        """The loss of a role's tokens."""
        return replace(self, kl=self.kl_of.get(role, self.kl), kl_of={})

    @property
    def corrects(self) -> bool:
        """True if tokens get the factor of a sampler-learner correction."""
        return getattr(self.correction, "func", self.correction) is not uncorrected

    def per_token(self, tokens: Tokens) -> TokenValues:
        """The loss of each token, correction and KL included, with its diagnostic values.

        Raises LearnerError if there is a KL, but `tokens` lacks the base's log-probabilities.
        """
        plain_CT = self.token_loss(tokens)
        corrected = self.correction(tokens.old_CT, tokens.sampled_CT, tokens.mask_CT)
        facts = {"clipped": _clipped(plain_CT, tokens), "corrected": corrected.changed_CT}
        loss_CT = plain_CT * corrected.weights_CT
        if self.kl is not None:
            if tokens.base_CT is None:
                raise LearnerError(
                    "the loss has a KL to the base, but the log-probabilities of the base were not computed"
                )
            kl = self.kl(tokens.logprobs_CT, tokens.base_CT)
            loss_CT = loss_CT + kl.loss_CT
            facts["kl"] = kl.value_CT
        return TokenValues(loss_CT, facts)


def reinforce(tokens: Tokens) -> Tensor:
    """-A l (REINFORCE)."""
    return -tokens.advantages_C1 * tokens.logprobs_CT


def clip(
    tokens: Tokens,
    *,
    low: Annotated[float, Field(gt=0, lt=1)] = 0.2,
    high: Annotated[float, Field(gt=0)] = 0.28,
    dual: Annotated[float, Field(gt=1)] | None = None,
) -> Tensor:
    """L = max(-rho A, -clip(rho, 1 - low, 1 + high) A); PPO 1707.06347, DAPO 2503.14476.

    With `dual`, L = min(L, -dual A) where A < 0 (1912.09729).
    """
    return _clipped_loss(_ratio(tokens), tokens.advantages_C1, low, high, dual)


def gspo(
    tokens: Tokens,
    *,
    low: Annotated[float, Field(gt=0, lt=1)] = 3e-4,
    high: Annotated[float, Field(gt=0)] = 4e-4,
) -> Tensor:
    """`clip` on s = exp(mean_t(l - l_old)), the ratio of the whole call, with a gradient through each token.

    The token's ratio is stop_gradient(s) exp(l - stop_gradient(l)): its value is s, its gradient s times that of l
    (GSPO-token, arXiv 2507.18071). The paper's aggregation is `call`.
    """
    counts_C1 = tokens.mask_CT.sum(dim=1, keepdim=True).clamp(min=1)
    mean_C1 = ((tokens.logprobs_CT - tokens.old_CT) * tokens.mask_CT).sum(dim=1, keepdim=True) / counts_C1
    own_CT = tokens.logprobs_CT - tokens.logprobs_CT.detach()
    return _clipped_loss(_bounded_exp(own_CT + mean_C1.detach()), tokens.advantages_C1, low, high, None)


def cispo(tokens: Tokens, *, ratio_max: Annotated[float, Field(gt=0)] = 5.0) -> Tensor:
    """-stop_gradient(min(rho, ratio_max)) A l (MiniMax-M1, arXiv 2506.13585)."""
    return -_ratio(tokens).detach().clamp(max=ratio_max) * tokens.advantages_C1 * tokens.logprobs_CT


def sapo(
    tokens: Tokens,
    *,
    positive: Annotated[float, Field(gt=0)] = 1.0,
    negative: Annotated[float, Field(gt=0)] = 1.05,
) -> Tensor:
    """-sigmoid(kappa (rho - 1)) (4 / kappa) A, kappa = `positive` where A > 0, else `negative`.

    SAPO, arXiv 2511.20347; the paper's aggregation is `call`.
    """
    one_C1 = tokens.advantages_C1.new_ones(tokens.advantages_C1.shape)
    kappa_C1 = (positive * one_C1).where(tokens.advantages_C1 > 0, negative * one_C1)
    gate_CT = (kappa_C1 * (_ratio(tokens) - 1)).sigmoid() * 4 / kappa_C1
    return -gate_CT * tokens.advantages_C1


def _clipped_loss(ratio_CT: Tensor, advantages_C1: Tensor, low: float, high: float, dual: float | None) -> Tensor:
    clipped_CT = ratio_CT.clamp(1 - low, 1 + high)
    loss_CT = (-ratio_CT * advantages_C1).maximum(-clipped_CT * advantages_C1)
    if dual is None:
        return loss_CT
    return loss_CT.minimum(-dual * advantages_C1).where(advantages_C1 < 0, loss_CT)


def _ratio(tokens: Tokens) -> Tensor:
    return _bounded_exp(tokens.logprobs_CT - tokens.old_CT)


def _bounded_exp(log_ratio_CT: Tensor) -> Tensor:
    return log_ratio_CT.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()


def _clipped(loss_CT: Tensor, tokens: Tokens) -> Tensor:
    """1 where a token with an advantage has no gradient."""
    from torch.autograd import grad  # not above: a wrong option of a loss is found without torch

    if not loss_CT.requires_grad:
        return loss_CT.new_zeros(loss_CT.shape)
    (slope_CT,) = grad(loss_CT.sum(), tokens.logprobs_CT, retain_graph=True)
    return ((slope_CT == 0) & (tokens.advantages_C1 != 0)).float()
