"""Many adapters on one frozen base, one optimizer each: the learner for a laptop and for one GPU."""

import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from counterpoint.algorithms.base import Sample, in_loss
from counterpoint.algorithms.loss import Loss, Tokens
from counterpoint.clock import timed
from counterpoint.config import Config
from counterpoint.episode import Call
from counterpoint.errors import LearnerError, unknown
from counterpoint.forwards import forward_of
from counterpoint.forwards.base import Scored
from counterpoint.learners._batch import Budget, pad_values
from counterpoint.learners._checkpointing import checkpoint_layers
from counterpoint.learners._lora import fuse_adapters
from counterpoint.learners._optim import adamw, learning_rate, load_moments, save_moments
from counterpoint.learners.base import NO_RATES, Contribution, Contributions, Gradient, Moved, Source
from counterpoint.learners.gradient import FlatGradient, flatten
from counterpoint.policy import Adapter, Policy, digest

ADAPTER_FILE = "adapter_model.safetensors"
MOMENTS_FILE = "optimizer.safetensors"
_PEFT_PREFIX = "base_model.model."


class Peft:
    """LoRA on all linear layers of the base, dropout 0; a policy starts as exactly the base, or as a given adapter."""

    def __init__(self, model: PreTrainedModel, policies: Sequence[Policy], config: Config) -> None:
        """`model` is the frozen base of all `policies`; the adapters are put into it.

        Initial values depend on (seed, policy) alone. Raises LearnerError if an adapter to start from does not fit.
        """
        self._config = config
        self._settings = {policy.name: config.policy_settings(policy.name) for policy in policies}
        first, *others = self._settings
        with torch.random.fork_rng(), warnings.catch_warnings():
            # PEFT still asks transformers by this name, and no user of ours can change that.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            # Names such as "a" confuse PEFT when it loads several adapters; here they are loaded by their own names.
            warnings.filterwarnings("ignore", message="Adapter name .* should not be contained in the prefix")
            _seed(config.run.seed, first)
            self._peft = get_peft_model(model, self._lora(first), adapter_name=first)
            for name in others:
                _seed(config.run.seed, name)
                self._peft.add_adapter(name, self._lora(name))
        self._model = self._peft.get_base_model().eval()
        fuse_adapters(self._model)
        self._forward = forward_of(self._model, self._settings[first].model.forward)
        self._budget = Budget(self._forward, config.learner.max_tokens_per_micro_batch)
        if config.learner.gradient_checkpointing:
            checkpoint_layers(self._model, self._forward)
        self._parameters = {name: self._parameters_of(name) for name in self._settings}
        for name, settings in self._settings.items():
            if settings.adapter:
                self._start_from(name, Path(settings.adapter).expanduser())
        self._optimizers = {name: adamw(self._parameters[name], self._settings[name]) for name in self._settings}
        self._versions = dict.fromkeys(self._parameters, 0)

    def backward(self, samples: Sequence[Sample], loss: Loss, *, slots_apart: bool = False) -> Contributions:
        contributions: dict[Source, Contribution] = {}
        for policy in self._parameters:
            mine = [sample for sample in in_loss(samples) if sample.call.policy == policy]
            if not mine:
                continue
            self._check_trainable(policy, mine)
            weights = loss.aggregation(mine)
            self._speak_as(policy)
            for role in dict.fromkeys(sample.call.key.role for sample in mine):
                part = [pair for pair in zip(mine, weights, strict=True) if pair[0].call.key.role == role]
                by_slot = groupby(sorted(part, key=_slot), key=_slot) if slots_apart else [(0, part)]
                own = loss.of(role)
                with timed(f"{policy}/{role}"):
                    slots = {slot: self._contribution(policy, list(pairs), own) for slot, pairs in by_slot}
                contributions[Source(policy, role)] = _together(slots) if slots_apart else slots[0]
        return contributions

    def step(
        self, contributions: Contributions, rates: Mapping[str, float] = NO_RATES, *, step: int
    ) -> dict[str, Moved]:
        moved: dict[str, Moved] = {}
        for policy, parameters in self._parameters.items():
            gradients = [part.gradient for source, part in contributions.items() if source.policy == policy]
            joint = _joint(policy, gradients) if gradients else None
            if joint is not None and joint.norm() != 0.0:
                moved[policy] = self._move(policy, list(parameters.values()), joint, step, rates.get(policy, 1.0))
        return moved

    def logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        found: dict[int, list[float]] = {}
        for policy in dict.fromkeys(call.policy for call in calls):
            self._speak_as(policy)
            mine = [index for index, call in enumerate(calls) if call.policy == policy]
            found |= dict(zip(mine, self._scored([calls[index] for index in mine]), strict=True))
        return [found[index] for index in range(len(calls))]

    def base_logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        with self._peft.disable_adapter():
            return self._scored(calls)

    def adapters(self) -> list[Adapter]:
        return [
            Adapter(
                policy=policy,
                version=self._versions[policy],
                scale=self._settings[policy].alpha / self._settings[policy].rank,
                tensors={name: tensor.detach().clone() for name, tensor in self._parameters[policy].items()},
            )
            for policy in self._parameters
        ]

    def digests(self) -> dict[str, str]:
        return {
            policy: digest(
                (name, tensor.detach().cpu().numpy().tobytes()) for name, tensor in self._parameters[policy].items()
            )
            for policy in self._parameters
        }

    def save(self, folder: Path) -> None:
        for policy, parameters in self._parameters.items():
            place = folder / policy
            place.mkdir(parents=True)
            tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in parameters.items()}
            save_file(tensors, place / ADAPTER_FILE, metadata={"format": "pt"})
            config = copy(self._peft.peft_config[policy])
            config.target_modules = sorted(config.target_modules)  # a set: its order would change with every process
            config.save_pretrained(str(place))
            save_moments(place / MOMENTS_FILE, self._optimizers[policy], parameters)

    def load(self, folder: Path) -> None:
        for policy, parameters in self._parameters.items():
            place = folder / policy
            try:
                tensors = load_file(place / ADAPTER_FILE)
                self._check_fits(policy, place, tensors)
                for name, parameter in parameters.items():
                    parameter.data.copy_(tensors[name])
                load_moments(place / MOMENTS_FILE, self._optimizers[policy], parameters)
            except (OSError, KeyError, SafetensorError) as error:
                raise LearnerError(f"{place} does not hold policy {policy!r} of this recipe: {error}") from error
            self._versions[policy] = _steps_taken(self._optimizers[policy])

    @torch.no_grad()
    def _scored(self, calls: Sequence[Call]) -> list[list[float]]:
        """Log-probabilities under whatever the model speaks as now."""
        found: list[list[float]] = [[] for _ in calls]
        for batch, rows in self._budget.each(calls, lambda batch: self._score([calls[index] for index in batch])):
            for index, row in zip(batch, rows.logprobs_CT.tolist(), strict=True):
                found[index] = row[: len(calls[index].completion_ids)]
        return found

    def _score(self, calls: Sequence[Call]) -> Scored:
        return self._forward.score(self._model, calls)

    def _contribution(self, policy: str, pairs: Sequence[tuple[Sample, float]], loss: Loss) -> Contribution:
        """Of samples with their weight a token."""
        parameters = list(self._parameters[policy].values())
        total = torch.zeros(sum(parameter.numel() for parameter in parameters), device=self._model.device)
        value, sums = 0.0, dict[str, float]()
        calls = [sample.call for sample, _ in pairs]
        for _, part in self._budget.each(calls, lambda batch: self._part(policy, [pairs[at] for at in batch], loss)):
            total += part.gradient
            value += part.loss
            for name, fact in part.facts.items():
                sums[name] = sums.get(name, 0.0) + fact
        weight = sum(weight * sample.tokens for sample, weight in pairs)
        facts = {name: found / weight for name, found in sums.items()}
        return Contribution(FlatGradient(total), weight, value, facts)

    def _part(self, policy: str, pairs: Sequence[tuple[Sample, float]], loss: Loss) -> "_Part":
        """What a micro-batch adds."""
        tokens = self._tokens(policy, [sample for sample, _ in pairs], with_base=loss.kl is not None)
        weights_CT = tokens.mask_CT * self._column([weight for _, weight in pairs])
        values = loss.per_token(tokens)
        part = (values.loss_CT * weights_CT).sum()
        gradient = flatten(torch.autograd.grad(part, list(self._parameters[policy].values())))
        facts = {name: float((fact_CT * weights_CT).sum()) for name, fact_CT in values.facts.items()}
        return _Part(gradient, float(part.detach()), facts)

    def _tokens(self, policy: str, samples: Sequence[Sample], *, with_base: bool) -> Tokens:
        """Everything that the loss wants to know about the tokens of these samples."""
        calls = [sample.call for sample in samples]
        base_CT = self._base_logprobs(policy, calls) if with_base else None
        scored = self._score(calls)
        now_CT = scored.logprobs_CT
        old = [sample.old for sample in samples]
        given_CT = pad_values([values or () for values in old], now_CT)
        is_given_C1 = self._column([float(values is not None) for values in old]).bool()
        return Tokens(
            logprobs_CT=now_CT,
            old_CT=torch.where(is_given_C1, given_CT, now_CT.detach()),
            sampled_CT=pad_values([call.logprobs for call in calls], now_CT),
            base_CT=base_CT,
            mask_CT=scored.mask_CT,
            advantages_C1=self._column([sample.advantage for sample in samples]),
        )

    @torch.no_grad()
    def _base_logprobs(self, policy: str, calls: Sequence[Call]) -> Tensor:
        """Under the base alone; afterwards the model speaks as `policy` again, before anything is differentiated."""
        with self._peft.disable_adapter():
            scored = self._score(calls)
        self._speak_as(policy)
        return scored.logprobs_CT

    def _move(
        self, policy: str, parameters: list[torch.nn.Parameter], joint: FlatGradient, step: int, factor: float
    ) -> Moved:
        norm = joint.norm()
        if not torch.isfinite(torch.tensor(norm)):
            raise LearnerError(f"policy {policy!r}: the gradient of step {step} is not finite")
        settings = self._settings[policy]
        if norm > settings.gradient_clip:
            joint = joint.scaled(settings.gradient_clip / norm)
        now, end = settings.update.clock(step), settings.update.clock(self._config.run.steps)
        rate = factor * learning_rate(settings, step=now, steps=end)
        optimizer = self._optimizers[policy]
        before = flatten([parameter.detach() for parameter in parameters])
        for parameter, gradient in zip(parameters, joint.split(parameters), strict=True):
            parameter.grad = gradient
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self._versions[policy] += 1
        change = flatten([parameter.detach() for parameter in parameters]) - before
        return Moved(norm=norm, learning_rate=rate, change=float(torch.linalg.vector_norm(change)))

    def _speak_as(self, policy: str) -> None:
        if policy not in self._parameters:
            raise LearnerError(unknown("policy", policy, self._parameters))
        self._peft.set_adapter(policy)

    def _check_trainable(self, policy: str, samples: Sequence[Sample]) -> None:
        if not self._settings[policy].trainable:
            raise LearnerError(f"policy {policy!r} is frozen: none of its calls may be in a loss")
        for sample in samples:
            call = sample.call
            if not call.completion_ids or len(call.logprobs) != len(call.completion_ids):
                raise LearnerError(
                    f"policy {policy!r}: a call by {call.key.role} has {len(call.completion_ids)} token ids and"
                    f" {len(call.logprobs)} log-probabilities; what came without them cannot be trained on"
                )

    def _start_from(self, policy: str, folder: Path) -> None:
        try:
            tensors = load_file(folder / ADAPTER_FILE)
        except (OSError, SafetensorError) as error:
            raise LearnerError(f"policy.{policy}.adapter = {str(folder)!r} has no adapter: {error}") from error
        self._check_fits(policy, folder, tensors)
        for name, parameter in self._parameters[policy].items():
            parameter.data.copy_(tensors[name])

    def _lora(self, policy: str) -> LoraConfig:
        settings = self._settings[policy]
        return LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
            base_model_name_or_path=settings.model.path,
        )

    def _parameters_of(self, policy: str) -> dict[str, torch.nn.Parameter]:
        """The adapter's parameters by the names they have in a PEFT file, found through the layers themselves."""
        found: dict[str, torch.nn.Parameter] = {}
        for path, module in self._model.named_modules():
            if isinstance(module, LoraLayer):
                found[f"{_PEFT_PREFIX}{path}.lora_A.weight"] = module.lora_A[policy].weight
                found[f"{_PEFT_PREFIX}{path}.lora_B.weight"] = module.lora_B[policy].weight
        if not found:
            raise LearnerError(f"policy {policy!r}: the base model has no linear layer to adapt")
        for parameter in found.values():
            parameter.data = parameter.data.float()
        return found

    def _check_fits(self, policy: str, place: Path, tensors: Mapping[str, Tensor]) -> None:
        mine = {name: tuple(tensor.shape) for name, tensor in self._parameters[policy].items()}
        theirs = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if mine != theirs:
            raise LearnerError(f"{place} holds an adapter for another base model or of another rank")

    def _column(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, device=self._model.device)[:, None]


class _Part(NamedTuple):
    gradient: Tensor
    loss: float
    facts: Mapping[str, float]


def _slot(pair: tuple[Sample, float]) -> int:
    return pair[0].call.key.slot


def _together(slots: Mapping[int, Contribution]) -> Contribution:
    """The contribution whose parts these are."""
    parts = list(slots.values())
    total, weight = parts[0].gradient, sum(part.weight for part in parts)
    for part in parts[1:]:
        total = total.plus(part.gradient)
    return Contribution(
        gradient=total,
        weight=weight,
        loss=sum(part.loss for part in parts),
        facts={name: sum(part.facts[name] * part.weight for part in parts) / weight for name in parts[0].facts},
        slots={slot: part.gradient for slot, part in slots.items()},
    )


def _joint(policy: str, gradients: Sequence[Gradient]) -> FlatGradient:
    total = gradients[0]
    for gradient in gradients[1:]:
        total = total.plus(gradient)
    if not isinstance(total, FlatGradient):
        raise LearnerError(f"policy {policy!r}: a {type(total).__name__} is not a gradient of this learner")
    return total


def _seed(seed: int, policy: str) -> None:
    torch.manual_seed(int(digest([(f"{seed}/{policy}", b"")])[:15], 16))


def _steps_taken(optimizer: torch.optim.AdamW) -> int:
    """How often the optimizer has stepped: a policy's version."""
    return max((int(state["step"]) for state in optimizer.state.values()), default=0)
