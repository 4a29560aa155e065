"""Many adapters on one frozen base, one optimizer each: the learner for a laptop and for one GPU."""

import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from counterpoint.algorithms.base import Sample, with_signal
from counterpoint.algorithms.loss import Loss
from counterpoint.config import Config
from counterpoint.episode import Call
from counterpoint.errors import LearnerError, unknown
from counterpoint.learners._batch import micro_batches, score
from counterpoint.learners._gradient import FlatGradient, flatten
from counterpoint.learners._optim import adamw, learning_rate, load_moments, save_moments
from counterpoint.learners.base import Contribution, Contributions, Gradient, Moved, Source
from counterpoint.policy import Adapter, Policy, digest

ADAPTER_FILE = "adapter_model.safetensors"
MOMENTS_FILE = "optimizer.safetensors"
_PEFT_PREFIX = "base_model.model."


class Peft:
    """LoRA on all linear layers of the base, dropout 0; every policy starts as exactly the base."""

    def __init__(self, model: PreTrainedModel, policies: Sequence[Policy], config: Config) -> None:
        """`model` is the frozen base; the adapters are put into it. Initial values depend on (seed, policy) alone."""
        self._config = config
        first, *others = policies
        with torch.random.fork_rng(), warnings.catch_warnings():
            # PEFT still asks transformers by this name, and no user of ours can change that.
            warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
            _seed(config.run.seed, first.name)
            self._peft = get_peft_model(model, self._lora(), adapter_name=first.name)
            for policy in others:
                _seed(config.run.seed, policy.name)
                self._peft.add_adapter(policy.name, self._lora())
        self._model = self._peft.get_base_model().eval()
        self._parameters = {policy.name: self._parameters_of(policy.name) for policy in policies}
        self._optimizers = {name: adamw(parameters, config.policies) for name, parameters in self._parameters.items()}
        self._versions = dict.fromkeys(self._parameters, 0)

    def backward(self, samples: Sequence[Sample], loss: Loss) -> Contributions:
        contributions: dict[Source, Contribution] = {}
        for policy in self._parameters:
            mine = [sample for sample in with_signal(samples) if sample.call.policy == policy]
            if not mine:
                continue
            weights = loss.aggregation(mine)
            self._speak_as(policy)
            for role in dict.fromkeys(sample.call.key.role for sample in mine):
                part = [index for index, sample in enumerate(mine) if sample.call.key.role == role]
                contributions[Source(policy, role)] = self._contribution(
                    policy, [mine[index] for index in part], [weights[index] for index in part], loss
                )
        return contributions

    def step(self, contributions: Contributions, *, step: int) -> dict[str, Moved]:
        moved: dict[str, Moved] = {}
        for policy, parameters in self._parameters.items():
            gradients = [part.gradient for source, part in contributions.items() if source.policy == policy]
            joint = _joint(policy, gradients) if gradients else None
            if joint is not None and joint.norm() != 0.0:
                moved[policy] = self._move(policy, list(parameters.values()), joint, step)
        return moved

    @torch.no_grad()
    def logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        found: dict[int, list[float]] = {}
        for policy in dict.fromkeys(call.policy for call in calls):
            self._speak_as(policy)
            mine = [index for index, call in enumerate(calls) if call.policy == policy]
            for batch in micro_batches(
                [calls[index] for index in mine], self._config.learner.max_tokens_per_micro_batch
            ):
                indices = [mine[place] for place in batch]
                rows = score(self._model, [calls[index] for index in indices]).logprobs_CT.tolist()
                found |= {
                    index: row[: len(calls[index].completion_ids)] for index, row in zip(indices, rows, strict=True)
                }
        return [found[index] for index in range(len(calls))]

    def adapters(self) -> list[Adapter]:
        scale = self._config.policies.alpha / self._config.policies.rank
        return [
            Adapter(
                policy=policy,
                version=self._versions[policy],
                scale=scale,
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

    def _contribution(
        self, policy: str, samples: Sequence[Sample], weights: Sequence[float], loss: Loss
    ) -> Contribution:
        parameters = list(self._parameters[policy].values())
        total = torch.zeros(sum(parameter.numel() for parameter in parameters), device=self._model.device)
        value = 0.0
        calls = [sample.call for sample in samples]
        for batch in micro_batches(calls, self._config.learner.max_tokens_per_micro_batch):
            scored = score(self._model, [calls[index] for index in batch])
            advantages_C1 = self._column([samples[index].advantage for index in batch])
            weights_C1 = self._column([weights[index] for index in batch])
            loss_CT = loss.token_loss(scored.logprobs_CT, scored.logprobs_CT.detach(), advantages_C1)
            part = (loss_CT * scored.mask_CT * weights_C1).sum()
            total += flatten(torch.autograd.grad(part, parameters))
            value += float(part.detach())
        weight = sum(weight * sample.tokens for weight, sample in zip(weights, samples, strict=True))
        return Contribution(FlatGradient(total), weight, value)

    def _move(self, policy: str, parameters: list[torch.nn.Parameter], joint: FlatGradient, step: int) -> Moved:
        norm = joint.norm()
        if not torch.isfinite(torch.tensor(norm)):
            raise LearnerError(f"policy {policy!r}: the gradient of step {step} is not finite")
        limit = self._config.policies.gradient_clip
        if norm > limit:
            joint = joint.scaled(limit / norm)
        rate = learning_rate(self._config.policies, step=step, steps=self._config.run.steps)
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

    def _lora(self) -> LoraConfig:
        return LoraConfig(
            r=self._config.policies.rank,
            lora_alpha=self._config.policies.alpha,
            lora_dropout=0.0,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
            base_model_name_or_path=self._config.model.path,
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
