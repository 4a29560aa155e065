"""Two ways in which one frozen base serves many policies: adapters merged into a copy, or kept beside the base.

Shapes: R rank, I inputs and O outputs of an adapted linear layer.
"""

import copy
from typing import Any, Protocol

from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from counterpoint.adapter import Adapter
from counterpoint.errors import SamplerError
from counterpoint.forwards.adapted import is_half, make_adaptable
from counterpoint.targets import sizes_of


class Weights(Protocol):
    """A model whose adapter can be exchanged."""

    model: Any

    def use(self, adapter: Adapter) -> None:
        """The model computes with this adapter from here on, whichever was in use before."""
        ...


def lossless(model: PreTrainedModel) -> Weights:
    """Merged where that loses nothing, which is in float32; beside the base in half precision."""
    return Beside(model) if _has_half(model) else Merged(model)


class Merged:
    """A copy of the base whose weights are W + scale * B A: as fast as the base, for twice its memory."""

    def __init__(self, model: PreTrainedModel) -> None:
        """`model` is the frozen base; its weights are read, never written.

        Raises SamplerError for half precision, whose weights cannot hold a small adapter: rounded to its grid, W plus
        less than half a grid step is W.
        """
        if _has_half(model):
            raise SamplerError("adapters cannot be merged into weights of half precision, which would round them away")
        self._base: dict[str, Tensor] = {name: one.detach() for name, one in model.named_parameters()}
        self.model: Any = copy.deepcopy(model)
        self._weights = dict(self.model.named_parameters())
        self._changed: set[str] = set()
        """Weights into which an adapter was ever merged. The next policy may not adapt all of them."""

    def use(self, adapter: Adapter) -> None:
        # From the untouched base every time: subtracting the last adapter again would leave its rounding behind.
        for name in self._changed:
            self._weights[name].data.copy_(self._base[name])
        for module, a_RI, b_OR in adapter.layers():
            name = f"{module}.weight"
            change_OI = adapter.scale * (b_OR.float() @ a_RI.float())
            change = change_OI.T if isinstance(self.model.get_submodule(module), Conv1D) else change_OI
            self._weights[name].data.copy_(self._base[name].float() + change)
            self._changed.add(name)


class Beside:
    """The base with adapters computed beside its layers, W x + scale * B (A x): for no memory of its own."""

    def __init__(self, model: PreTrainedModel) -> None:
        """`model` is the frozen base. Its modules stay as they are; its weights are shared, and never written."""
        # A learner puts its adapters into the modules of `model`; weights are only read on both sides.
        self.model: Any = copy.deepcopy(model, {id(one): one for one in model.parameters()})
        self._layers = make_adaptable(self.model)

    def use(self, adapter: Adapter) -> None:
        """Raises SamplerError if the adapter does not fit the base."""
        for layer in self._layers.values():
            layer.adapter = None
        for module, a_RI, b_OR in adapter.layers():
            found = self._layers.get(module)
            if found is None or (a_RI.shape[1], b_OR.shape[0]) != sizes_of(found):
                raise SamplerError(
                    f"policy {adapter.policy!r}: its adapter is for another base model: it adapts {module}, which is no"
                    f" linear layer of {a_RI.shape[1]} inputs and {b_OR.shape[0]} outputs here"
                )
            # Cast here, and not for every token: it would be cast to that dtype in any case.
            found.adapter = (a_RI.to(found.weight), b_OR.to(found.weight), adapter.scale)


def _has_half(model: PreTrainedModel) -> bool:
    return any(is_half(one.dtype) for one in model.parameters())
