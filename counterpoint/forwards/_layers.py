"""Decoders of the usual kind, computed in few passes over their values.

The usual kind is that of Llama, Qwen2, Qwen3 and others: in each layer a norm, projections to queries, keys and values
(the first two possibly normed per head) that rotary positions turn by halves, attention, another norm and a gated MLP.
transformers computes it with many small operations, and transposes queries, keys, values and outputs in every layer.
Here what lies between two matrix products is one operation (`Kernels`), and attention is called as it is.

A decoder is recognised by its modules, and then compared by numbers with the layers that it replaces. Its modules stay
as they are, adapters within them too: they are called, and their weights are not read.

Shapes: N packed tokens, U of them that are asked for, E hidden values, H heads, D values per head.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from counterpoint.errors import ModelError
from counterpoint.forwards._attention import Layout, layout_of
from counterpoint.forwards._choice import kernels_of
from counterpoint.forwards._forest import forest_of
from counterpoint.forwards._kernels import Kernels

_LOG = logging.getLogger(__name__)
_KERNELS = "counterpoint_kernels"
"""The attribute of a decoder that is computed here: the kernels that compute it."""
_PROJECTIONS = {"q_proj", "k_proj", "v_proj", "o_proj"}
_CALLED = (torch.nn.Embedding, torch.nn.Linear)
"""Modules that are called here too, so that their hooks are."""
_FAR = 1 << 30
"""A position that no text has: some models scale what is far away."""
_TESTED = ([3, 1, 4, 1, 5, 9, 2, 6], [3, 1, 4, 1, 8, 7, 7], [2, 7])
"""Sequences with shared beginnings, with whose forest layers are compared."""
_TOLERANCE = {torch.float32: (1e-4, 2e-6), torch.bfloat16: (5e-2, 2**-8), torch.float16: (1e-2, 2**-11)}
"""Difference allowed to a layer, as shares of what it adds to the hidden states, and of the hidden states."""


def fuse_layers(model: Any) -> bool:
    """True if the decoder of `model`, which is set to packed attention, is of the usual kind: it is computed here then.

    If the tensors of the model have no values, nothing is compared. Hooks that are registered afterwards on what is
    computed here, which is the decoder, its layers, attentions, MLPs and norms, are not called.
    """
    decoder = model.get_decoder()
    unfuse_layers(model)
    if not _is_usual(decoder):
        return False
    kernels = kernels_of(model.device, model.dtype)
    if not (_can_be_called(model, decoder) if model.device.type == "meta" else _agrees(model, decoder, kernels)):
        _LOG.info("layers are computed as transformers computes them: they do more than their modules show")
        return False
    setattr(decoder, _KERNELS, kernels)
    return True


def unfuse_layers(model: Any) -> None:
    """The decoder of `model` is computed as transformers does it."""
    vars(model.get_decoder()).pop(_KERNELS, None)


def is_fused(decoder: Any) -> bool:
    """True if `decoded` computes it."""
    return hasattr(decoder, _KERNELS)


def decoded(decoder: Any, ids_N: Tensor, positions_N: Tensor, layout: Layout, asked_U: Tensor | None = None) -> Tensor:
    """The decoder's output (N, E) after its final norm, or (U, E), that of the tokens at the places `asked_U` alone."""
    x_NE = decoder.embed_tokens(ids_N)
    cos_1ND, sin_1ND = decoder.rotary_emb(x_NE[None], positions_N[None])
    surroundings = _Surroundings(getattr(decoder, _KERNELS), layout, cos_1ND[0], sin_1ND[0])
    stream = _Stream(x_NE)
    *first, last = decoder.layers
    for layer in first:
        stream = _through(layer, stream, surroundings)
    stream = _through(last, stream, replace(surroundings, asked_U=asked_U))
    return stream.normed(decoder.norm, surroundings.kernels).normed_NE


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """The inputs of a layer beside hidden states."""

    kernels: Kernels
    layout: Layout
    cos_ND: Tensor
    sin_ND: Tensor
    asked_U: Tensor | None = None
    """The tokens whose output is needed; None if it is that of all."""


class _Normed(NamedTuple):
    sum_NE: Tensor
    normed_NE: Tensor


class _Stream(NamedTuple):
    """Hidden states between two layers, to which the output of the last one is added together with the next norm."""

    x_NE: Tensor
    added_NE: Tensor | None = None

    def normed(self, norm: Any, kernels: Kernels) -> _Normed:
        if self.added_NE is None:
            return _Normed(self.x_NE, kernels.normed(self.x_NE, norm.weight, norm.variance_epsilon))
        return _Normed(*kernels.added_and_normed(self.x_NE, self.added_NE, norm.weight, norm.variance_epsilon))

    def whole(self) -> Tensor:
        return self.x_NE if self.added_NE is None else self.x_NE + self.added_NE


def _through(layer: Any, stream: _Stream, surroundings: _Surroundings) -> _Stream:
    """The hidden states after the layer, which is computed again in the backward pass if it asks for that."""
    if not (getattr(layer, "gradient_checkpointing", False) and layer.training):
        return _layer(layer, surroundings, *stream)
    # One tensor, not two, is kept of each layer.
    again = partial(_layer, layer, surroundings)
    return _Stream(*layer._gradient_checkpointing_func(again, stream.whole()))


def _layer(layer: Any, surroundings: _Surroundings, x_NE: Tensor, added_NE: Tensor | None = None) -> _Stream:
    kernels, asked_U = surroundings.kernels, surroundings.asked_U
    sum_NE, normed_NE = _Stream(x_NE, added_NE).normed(layer.input_layernorm, kernels)
    found_NF = _attention(layer.self_attn, normed_NE, surroundings)
    if asked_U is not None:
        sum_NE, found_NF = sum_NE.index_select(0, asked_U), found_NF.index_select(0, asked_U)
    after = _Stream(sum_NE, layer.self_attn.o_proj(found_NF)).normed(layer.post_attention_layernorm, kernels)
    mlp = layer.mlp
    gated_NF = kernels.gated(mlp.gate_proj(after.normed_NE), mlp.up_proj(after.normed_NE))
    return _Stream(after.sum_NE, mlp.down_proj(gated_NF))


def _attention(module: Any, x_NE: Tensor, surroundings: _Surroundings) -> Tensor:
    """The outputs of all heads side by side (N, H * D), before they are projected."""
    query_NHD, key_NHD, value_NHD = (
        torch.unflatten(projection(x_NE), 1, (-1, module.head_dim))
        for projection in (module.q_proj, module.k_proj, module.v_proj)
    )
    query_NHD = _turned(query_NHD, getattr(module, "q_norm", None), surroundings)
    key_NHD = _turned(key_NHD, getattr(module, "k_norm", None), surroundings)
    found_NHD = surroundings.layout.attend(module.layer_idx, query_NHD, key_NHD, value_NHD, module.scaling)
    return found_NHD.flatten(1)


def _turned(x_NHD: Tensor, norm: Any, surroundings: _Surroundings) -> Tensor:
    weight_D, epsilon = (None, 0.0) if norm is None else (norm.weight, norm.variance_epsilon)
    return surroundings.kernels.turned(x_NHD, weight_D, epsilon, surroundings.cos_ND, surroundings.sin_ND)


# Recognised by structure


def _is_usual(decoder: Any) -> bool:
    if _parts(decoder) != {"embed_tokens", "layers", "norm", "rotary_emb"}:
        return False
    width = getattr(decoder.embed_tokens, "embedding_dim", 0)
    layers = list(decoder.layers)
    return (
        type(decoder.embed_tokens) is torch.nn.Embedding
        and len(layers) == decoder.config.num_hidden_layers > 0
        and _is_norm(decoder.norm, width)
        and all(_is_usual_layer(layer, width) for layer in layers)
        and not any(_has_hooks(module) for module in decoder.modules() if not isinstance(module, _CALLED))
    )


def _is_usual_layer(layer: Any, width: int) -> bool:
    if _parts(layer) != {"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"}:
        return False
    return (
        _is_norm(layer.input_layernorm, width)
        and _is_norm(layer.post_attention_layernorm, width)
        and _is_usual_attention(layer.self_attn)
        and _parts(layer.mlp) == {"gate_proj", "up_proj", "down_proj", "act_fn"}
        and _is_silu(layer.mlp.act_fn)
    )


def _is_usual_attention(module: Any) -> bool:
    norms = _parts(module) - _PROJECTIONS
    head_dim = getattr(module, "head_dim", None)
    return (
        _parts(module) >= _PROJECTIONS
        and norms in (set(), {"q_norm", "k_norm"})
        and isinstance(head_dim, int)
        and isinstance(getattr(module, "scaling", None), float)
        and isinstance(getattr(module, "layer_idx", None), int)
        and all(_is_norm(getattr(module, name), head_dim) for name in norms)
    )


def _is_norm(module: Any, width: int) -> bool:
    weight = getattr(module, "weight", None)
    return (
        isinstance(getattr(module, "variance_epsilon", None), float)
        and isinstance(weight, Tensor)
        and weight.shape == (width,)
        and _parts(module) == {"weight"}
    )


def _is_silu(module: Any) -> bool:
    return isinstance(module, torch.nn.SiLU) or type(module).__name__ == "SiLUActivation"


def _has_hooks(module: Any) -> bool:
    """True if somebody waits for the module to be called."""
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def _parts(module: Any) -> set[str]:
    """The names of a module's own modules and parameters."""
    return {name for name, _ in _named_parts(module)}


def _named_parts(module: Any) -> Iterator[tuple[str, Any]]:
    yield from module.named_children()
    yield from module.named_parameters(recurse=False)


# Compared by numbers


def _agrees(model: Any, decoder: Any, kernels: Kernels) -> bool:
    """True if every layer gives the same here as in transformers, on random hidden states, and gradients too.

    Whatever it raises is a reason against it: an unusual model can raise anything, and so can a compiler of kernels.
    """
    forest = forest_of(_TESTED)
    x_1NE = _random(len(forest.ids), decoder.embed_tokens.embedding_dim).to(model.device, model.dtype)[None]
    positions_1N = torch.from_numpy(forest.positions).to(model.device)[None]
    layout = layout_of(forest, model)
    try:
        cos_1ND, sin_1ND = decoder.rotary_emb(x_1NE, positions_1N)
        surroundings = _Surroundings(kernels, layout, cos_1ND[0], sin_1ND[0])
        options = {"position_ids": positions_1N + _FAR, "position_embeddings": (cos_1ND, sin_1ND), "layout": layout}
        return all(_is_same(layer, surroundings, options, x_1NE) for layer in decoder.layers)
    except Exception as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        _LOG.warning("layers are computed as transformers computes them, which takes longer: %s", reason)
        return False


class _Nothing:
    """A layout for tensors without values."""

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
        return torch.empty_like(query)


@torch.no_grad()
def _can_be_called(model: Any, decoder: Any) -> bool:
    """True if no layer asks for positions, or for an attention that no layout provides."""
    x_1NE = torch.empty(1, 2, decoder.embed_tokens.embedding_dim, device=model.device, dtype=model.dtype)
    positions_1N = torch.arange(2, device=model.device)[None]
    try:
        embeddings = decoder.rotary_emb(x_1NE, positions_1N)
        options = {"position_ids": None, "position_embeddings": embeddings, "layout": _Nothing()}
        return all(layer(x_1NE, attention_mask=None, **options).shape == x_1NE.shape for layer in decoder.layers)
    except (ModelError, ValueError, TypeError, AttributeError, RuntimeError):
        return False


def _is_same(layer: Any, surroundings: _Surroundings, options: Mapping[str, Any], x_1NE: Tensor) -> bool:
    """True if the layer gives the same here as in transformers, and its input has the same gradient."""
    slope_1NE = _random(*x_1NE.shape[1:], seed=1).to(x_1NE)[None]
    found = _value_and_slope(lambda x_1NE: _layer(layer, surroundings, x_1NE[0]).whole()[None], x_1NE, slope_1NE)
    wanted = _value_and_slope(partial(layer, attention_mask=None, **options), x_1NE, slope_1NE)
    return all(map(_is_close, found, wanted, (x_1NE, slope_1NE)))


@torch.enable_grad()
def _value_and_slope(layer: Any, x_1NE: Tensor, slope_1NE: Tensor) -> tuple[Tensor, Tensor]:
    """The output of the layer, and the gradient of its input."""
    given_1NE = x_1NE.detach().requires_grad_()
    found_1NE = layer(given_1NE)
    return found_1NE.detach(), torch.autograd.grad(found_1NE, given_1NE, slope_1NE)[0]


def _is_close(found: Tensor, wanted: Tensor, given: Tensor) -> bool:
    """True if two results for `given`, to which a layer adds something, differ by rounding alone."""
    of_change, of_all = _TOLERANCE.get(found.dtype, (0.0, 0.0))
    found, wanted, given = found.double(), wanted.double(), given.double()
    return bool((found - wanted).norm() <= of_change * (wanted - given).norm() + of_all * wanted.norm())


def _random(tokens: int, width: int, *, seed: int = 0) -> Tensor:
    """Normal hidden states, always the same."""
    return torch.randn(tokens, width, generator=torch.Generator().manual_seed(seed))
