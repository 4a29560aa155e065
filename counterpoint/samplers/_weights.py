"""Two ways in which one frozen base serves many policies: adapters merged into a copy, or kept beside the base.

Shapes: P policies, R rank, I inputs and O outputs of an adapted linear layer.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from counterpoint.adapter import Adapter
from counterpoint.errors import SamplerError
from counterpoint.forwards.adapted import AdaptedConv1D, AdaptedLinear, OneAdapter, is_half, make_adaptable
from counterpoint.forwards.several import OwnWeights, Rows, shared_weight
from counterpoint.targets import sizes_of

MERGED_BYTES = 2**29
"""Merged weights that are kept for policies side by side, at most; those of more are not merged but kept beside."""
Layers = Mapping[str, AdaptedLinear | AdaptedConv1D]


class Weights(Protocol):
    """A model whose adapter can be exchanged."""

    model: Any

    @property
    def layers(self) -> Layers:
        """Those that may have an adapter of several policies, by module path."""
        ...

    def use(self, adapter: Adapter) -> None:
        """The model computes with this adapter from here on, whichever were in use before."""
        ...

    def use_together(self, adapters: Sequence[Adapter]) -> None:
        """The model computes each row of its inputs with one of these adapters from here on, as `rows` says.

        Raises SamplerError if one of them does not fit the base.
        """
        ...

    def rows(self, members: np.ndarray) -> None:
        """Row n of the inputs belongs to adapter `members[n]` of those in use, until this is called again."""
        ...


def lossless(model: PreTrainedModel) -> Weights:
    """Merged where that loses nothing, which is in float32; beside the base in half precision."""
    return Beside(model) if _has_half(model) else Merged(model)


class Merged:
    """A copy of the base whose weights are W + scale * B A: as fast as the base, for twice its memory.

    Policies side by side have merged weights of their own if `MERGED_BYTES` are enough for them; otherwise their
    adapters are beside the base. Merged weights are kept until their adapters change, or until others need the room.
    """

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
        self.layers = make_adaptable(self.model)
        self._kept = _Kept({path: self._base[f"{path}.weight"] for path in self.layers}, self.layers)

    def use(self, adapter: Adapter) -> None:
        self._restore()
        for module, a_RI, b_OR in adapter.layers():
            name = f"{module}.weight"
            change_OI = adapter.scale * (b_OR.float() @ a_RI.float())
            change = change_OI.T if isinstance(self.model.get_submodule(module), Conv1D) else change_OI
            self._changed.add(name)  # first, since an interrupt may end the next line
            self._weights[name].data.copy_(self._base[name].float() + change)

    def use_together(self, adapters: Sequence[Adapter]) -> None:
        self._restore()
        self._rows = Rows(len(adapters), self.model.device)
        if self._kept.has_room(adapters):
            self._kept.put(adapters, self._rows)
        else:
            put_beside(self.layers, adapters, self._rows)

    def rows(self, members: np.ndarray) -> None:
        self._rows.set(members)

    def _restore(self) -> None:
        """The model is the base again."""
        for layer in self.layers.values():
            layer.adapter = None
        # From the untouched base every time: subtracting the last adapter again would leave its rounding behind.
        for name in self._changed:
            self._weights[name].data.copy_(self._base[name])


class _Kept:
    """The merged weights of policies, side by side for each layer (P, I, O)."""

    def __init__(self, base: Mapping[str, Tensor], layers: Layers) -> None:
        self._base_IO = {
            path: weight if isinstance(layers[path], Conv1D) else weight.T for path, weight in base.items()
        }
        self.layers = layers
        self._forget()

    def has_room(self, adapters: Sequence[Adapter]) -> bool:
        """True if the policies of these adapters may have weights here, whichever have some now.

        Policies round differently here than beside the base, so a run that is resumed must decide as it did before.
        """
        return self._fit(len(adapters))

    def put(self, adapters: Sequence[Adapter], rows: Rows) -> None:
        """The layers compute with these adapters."""
        _check_fit(self.layers, adapters)
        if not self._fit(len(self._adapters.keys() | {adapter.policy for adapter in adapters})):
            self._forget()
        for adapter in adapters:
            if self._adapters.get(adapter.policy) is not adapter:
                self._merge(adapter)
        policies = list(self._adapters)
        places = [policies.index(adapter.policy) for adapter in adapters]
        for path, layer in self.layers.items():
            layer.adapter = OwnWeights(_at(self._weights_PIO[path], places), rows)

    def _fit(self, policies: int) -> bool:
        return policies * sum(weight.nbytes for weight in self._base_IO.values()) <= MERGED_BYTES

    def _forget(self) -> None:
        self._adapters: dict[str, Adapter | None] = {}
        """Policy -> its adapter, in the order of their places; None until all of it is merged."""
        self._weights_PIO = {path: weight.new_empty(0, *weight.shape) for path, weight in self._base_IO.items()}

    def _merge(self, adapter: Adapter) -> None:
        own = {module: (a_RI, b_OR) for module, a_RI, b_OR in adapter.layers()}
        self._adapters[adapter.policy] = None  # an interrupt may end what follows
        place = list(self._adapters).index(adapter.policy)
        for path, base_IO in self._base_IO.items():
            missing = place + 1 - len(self._weights_PIO[path])
            if missing > 0:
                room_PIO = base_IO.new_empty(missing, *base_IO.shape)
                self._weights_PIO[path] = torch.cat([self._weights_PIO[path], room_PIO])
            merged_IO = self._weights_PIO[path][place]
            if path in own:
                a_RI, b_OR = (one.to(base_IO) for one in own[path])
                torch.addmm(base_IO, a_RI.T, b_OR.T, alpha=adapter.scale, out=merged_IO)
            else:
                merged_IO.copy_(base_IO)
        self._adapters[adapter.policy] = adapter


class Beside:
    """The base with adapters computed beside its layers, W x + scale * B (A x): for no memory of its own."""

    def __init__(self, model: PreTrainedModel) -> None:
        """`model` is the frozen base. Its modules stay as they are; its weights are shared, and never written."""
        # A learner puts its adapters into the modules of `model`; weights are only read on both sides.
        self.model: Any = copy.deepcopy(model, {id(one): one for one in model.parameters()})
        self.layers = make_adaptable(self.model)

    def use(self, adapter: Adapter) -> None:
        """Raises SamplerError if the adapter does not fit the base."""
        _check_fit(self.layers, [adapter])
        for layer in self.layers.values():
            layer.adapter = None
        for module, a_RI, b_OR in adapter.layers():
            layer = self.layers[module]
            # Cast here, and not for every token: it would be cast to that dtype in any case.
            layer.adapter = OneAdapter(a_RI.to(layer.weight), b_OR.to(layer.weight), adapter.scale)

    def use_together(self, adapters: Sequence[Adapter]) -> None:
        self._rows = Rows(len(adapters), self.model.device)
        put_beside(self.layers, adapters, self._rows)

    def rows(self, members: np.ndarray) -> None:
        self._rows.set(members)


def put_beside(layers: Layers, adapters: Sequence[Adapter], rows: Rows) -> None:
    """The layers compute each row with its policy's adapter beside their own weight."""
    _check_fit(layers, adapters)
    own = [{path: (a_RI, b_OR, adapter.scale) for path, a_RI, b_OR in adapter.layers()} for adapter in adapters]
    for path, layer in layers.items():
        weight_OI = layer.weight.T if isinstance(layer, Conv1D) else layer.weight
        matrices = [one.get(path) for one in own]
        layer.adapter = shared_weight(matrices, weight_OI, rows) if any(matrices) else None


def _check_fit(layers: Layers, adapters: Sequence[Adapter]) -> None:
    for adapter in adapters:
        for module, a_RI, b_OR in adapter.layers():
            found = layers.get(module)
            if found is None or (a_RI.shape[1], b_OR.shape[0]) != sizes_of(found):
                raise SamplerError(
                    f"policy {adapter.policy!r}: its adapter is for another base model: it adapts {module}, which is no"
                    f" linear layer of {a_RI.shape[1]} inputs and {b_OR.shape[0]} outputs here"
                )


def _at(weights_PIO: Tensor, places: Sequence[int]) -> Tensor:
    """The weights at these places, without a copy where they follow each other."""
    first, count = places[0], len(places)
    if list(places) == list(range(first, first + count)):
        return weights_PIO[first : first + count]
    return weights_PIO[list(places)]


def _has_half(model: PreTrainedModel) -> bool:
    return any(is_half(one.dtype) for one in model.parameters())
