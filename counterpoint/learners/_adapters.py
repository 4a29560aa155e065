"""The adapters of several policies on one frozen base: made, switched between, read and written.

Shapes: R rank, I inputs and O outputs of an adapted linear layer.
"""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils import transformers_weight_conversion
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from torch import Tensor
from transformers import PreTrainedModel

from counterpoint.adapter import Adapter, digest, digest_of, read_tensors, tensor_names
from counterpoint.config import PolicySettings
from counterpoint.errors import AdapterError, LearnerError, unknown
from counterpoint.learners._lora import fuse_adapters
from counterpoint.learners.gradient import Parameters
from counterpoint.targets import Targets, targets_of


class Adapters:
    """One LoRA adapter per policy on the layers of a base that `targets_of` names, dropout 0."""

    def __init__(self, model: PreTrainedModel, settings: Mapping[str, PolicySettings], *, seed: int) -> None:
        """The adapters are put into `model`.

        B begins as zero, so that a policy begins as exactly its base, unless its settings name an adapter to start
        from. A depends on `seed` and the policy's name alone. Raises LearnerError if an adapter to start from is
        missing or does not fit.
        """
        self._settings = settings
        self._base = model
        self._peft = _with_adapters(model, settings, seed)
        self.model = self._peft.get_base_model().eval()
        fuse_adapters(self.model)
        self._layers = [module for module in self.model.modules() if isinstance(module, LoraLayer)]
        self.parameters: dict[str, Parameters] = {name: _parameters_of(self.model, name) for name in settings}
        for name, own in settings.items():
            if own.adapter:
                self._start_from(name, Path(own.adapter).expanduser())

    def use(self, policy: str) -> None:
        """The model computes with the weights of `policy` from here on. Raises LearnerError if there is no such one."""
        if policy not in self.parameters:
            raise LearnerError(unknown("policy", policy, self.parameters))
        for layer in self._layers:
            layer.set_adapter(policy)

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """While it is open the model computes as its base. Call `use` afterwards, before anything is differentiated."""
        # As PEFT's `disable_adapter`, which walks through all modules, several times, to find the layers.
        for layer in self._layers:
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self._layers:
                layer.enable_adapters(True)

    @contextmanager
    def lent(self, adapter: Adapter) -> Iterator[None]:
        """While it is open the policy of `adapter` has its weights; afterwards its own again, bit for bit."""
        parameters = self.parameters[adapter.policy]
        own = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        try:
            _fill(parameters, adapter.tensors)
            yield
        finally:
            _fill(parameters, own)

    def copies(self, versions: Mapping[str, int]) -> list[Adapter]:
        """The adapter of every policy, its tensors copied."""
        return [
            Adapter(
                policy=policy,
                version=versions[policy],
                scale=self._settings[policy].alpha / self._settings[policy].rank,
                tensors={name: tensor.detach().clone() for name, tensor in parameters.items()},
                settings=self._peft_settings(policy),
            )
            for policy, parameters in self.parameters.items()
        ]

    def digests(self, policies: Sequence[str] | None = None) -> dict[str, str]:
        """The digests of the weights of `policies`, of all if none are named, as they are now."""
        return {policy: digest_of(self.parameters[policy]) for policy in policies or self.parameters}

    def load(self, policy: str, folder: Path) -> None:
        """The weights of `policy` are those in `folder`. Raises AdapterError, or LearnerError if they do not fit."""
        tensors = read_tensors(folder)
        self._check_fits(policy, folder, tensors)
        _fill(self.parameters[policy], tensors)

    def _start_from(self, policy: str, folder: Path) -> None:
        try:
            self.load(policy, folder)
        except AdapterError as error:
            raise LearnerError(f"policy.{policy}.adapter = {str(folder)!r} has no adapter: {error}") from error

    def _check_fits(self, policy: str, place: Path, tensors: Mapping[str, Tensor]) -> None:
        mine = {name: tuple(tensor.shape) for name, tensor in self.parameters[policy].items()}
        theirs = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if mine != theirs:
            raise LearnerError(f"{place} holds an adapter for another base model or of another rank")

    def _peft_settings(self, policy: str) -> dict[str, Any]:
        settings = as_peft_reads(self._peft.peft_config[policy], self._base)
        return dict(json.loads(json.dumps(settings.to_dict(), default=sorted)))


def with_adapter(model: Any, settings: LoraConfig, name: str) -> Any:
    """PEFT's model around `model`, with one adapter on exactly the layers that `settings` name."""
    with _without_peft_warnings(), _as_named():
        return get_peft_model(model, settings, adapter_name=name)


def lora(targets: Targets, *, rank: int, alpha: float, base: str) -> LoraConfig:
    """PEFT's settings of an adapter on `targets` of the base at `base`."""
    return LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=list(targets.layers),
        fan_in_fan_out=targets.transposed,
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
    )


def as_peft_reads(settings: LoraConfig, model: Any) -> LoraConfig:
    """A copy of the settings from which PEFT, as it is, puts adapters on exactly the layers that they name.

    In many mixtures of experts PEFT takes the name of a shared expert's projection for that of all experts. There it is
    given the weight of the layer instead of the layer, which is adapted alike and has the same tensors.
    """
    found, read = copy(settings), deepcopy(settings)
    convert_peft_config_for_transformers(read, model=model, conversions=None)
    # PEFT keeps sets, whose order differs from process to process; checkpoints must not.
    taken = sorted(set(settings.target_modules) - set(read.target_modules))
    found.target_modules = sorted(set(settings.target_modules) - set(taken))
    if taken:
        found.target_parameters = [f"{name}.weight" for name in taken]
    return found


def _with_adapters(model: PreTrainedModel, settings: Mapping[str, PolicySettings], seed: int) -> Any:
    """PEFT's model with an adapter for every policy. The state of torch's generator stays as it was."""
    first, *others = settings
    targets = targets_of(model)
    loras = {name: lora(targets, rank=own.rank, alpha=own.alpha, base=own.model.path) for name, own in settings.items()}
    with torch.random.fork_rng(), _without_peft_warnings(), _as_named():
        _seed(seed, first)
        made = with_adapter(model, loras[first], first)
        for name in others:
            _seed(seed, name)
            made.add_adapter(name, loras[name])
    return made


@contextmanager
def _as_named() -> Iterator[None]:
    """PEFT takes the names of layers as they are, also in models whose layers had other names in transformers 4."""
    with patch.object(transformers_weight_conversion, "convert_peft_config_for_transformers", lambda *_, **__: None):
        yield


@contextmanager
def _without_peft_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        # PEFT still asks transformers by this name, and no user of ours can change that.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated")
        # Names such as "a" confuse PEFT when it loads several adapters; here they are loaded by their own names.
        warnings.filterwarnings("ignore", message="Adapter name .* should not be contained in the prefix")
        yield


def _parameters_of(model: Any, policy: str) -> Parameters:
    """The adapter's parameters, made float32, found through the layers: PEFT's own names contain the policy's."""
    found: dict[str, torch.nn.Parameter] = {}
    for path, module in model.named_modules():
        if isinstance(module, LoraLayer):
            name_A, name_B = tensor_names(path)
            found[name_A] = module.lora_A[policy].weight
            found[name_B] = module.lora_B[policy].weight
    if not found:
        raise LearnerError(f"policy {policy!r}: the base model has no linear layer to adapt")
    for parameter in found.values():
        parameter.data = parameter.data.float()
    return found


def _fill(parameters: Parameters, tensors: Mapping[str, Any]) -> None:
    for name, parameter in parameters.items():
        parameter.data.copy_(tensors[name])


def _seed(seed: int, policy: str) -> None:
    torch.manual_seed(int(digest([(f"{seed}/{policy}", b"")])[:15], 16))
