"""Tiny random models of every causal architecture that transformers has, for the tests of architectures."""

import copy
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hybrids import HYBRIDS
from peft import PeftModel
from torch import Tensor
from transformers import AutoConfig

from counterpoint.base_model import empty_model, loader_of
from counterpoint.config import ModelConfig, PolicySettings
from counterpoint.episode import Call, CallKey
from counterpoint.forwards import forward_of
from counterpoint.forwards.base import Forward
from counterpoint.learners._adapters import Adapters
from counterpoint.samplers._engine import Engine
from counterpoint.samplers._weights import Beside, Merged
from counterpoint.samplers.base import Completion, Request
from counterpoint.targets import targets_of

VOCABULARY = 96
_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "n_embd": 32,
    "d_model": 32,
    "embed_dim": 32,
    "word_embed_proj_dim": 32,
    "embedding_size": 32,
    "num_hidden_layers": 2,
    "n_layer": 2,
    "n_layers": 2,
    "num_layers": 2,
    "decoder_layers": 2,
    "encoder_layers": 2,
    "num_attention_heads": 4,
    "n_head": 4,
    "n_heads": 4,
    "num_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_attention_heads": 4,
    "attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "intermediate_size": 48,
    "ffn_dim": 48,
    "n_inner": 48,
    "ffn_hidden_size": 48,
    "decoder_ffn_dim": 48,
    "encoder_ffn_dim": 48,
    "moe_intermediate_size": 24,
    "shared_expert_intermediate_size": 24,
    "shared_intermediate_size": 24,
    "intermediate_size_mlp": 48,
    "moe_shared_expert_intermediate_size": 24,
    "max_position_embeddings": 256,
    "n_positions": 256,
    "n_ctx": 256,
    "max_seq_len": 256,
    "rotary_dim": 8,
    "sliding_window": 16,
    "attention_chunk_size": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "num_experts": 4,
    "num_local_experts": 4,
    "n_routed_experts": 4,
    "moe_num_experts": 4,
    "num_experts_per_tok": 2,
    "num_experts_per_token": 2,
    "moe_topk": 2,
    "top_k": 2,
    "moe_k": 2,
    "top_k_experts": 2,
    "n_group": 1,
    "topk_group": 1,
    "num_expert_group": 1,
    "first_k_dense_replace": 1,
    "num_dense_layers": 1,
    "n_shared_experts": 1,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_d_state": 8,
    "mamba_num_heads": 4,
    "mamba_head_dim": 16,
    "n_mamba_heads": 1,
    "mamba_expand": 2,
    "mamba_chunk_size": 8,
    "chunk_size": 8,
    "mamba_dt_rank": 4,
    "ssm_state_size": 8,
    "state_size": 8,
    "time_step_rank": 4,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "attention_hidden_size": 64,
    "attention_head_dim": 16,
    "lru_width": 32,
    "vocab_size_per_layer_input": VOCABULARY,
    "hidden_size_per_layer_input": 8,
    "laurel_rank": 4,
    "num_kv_shared_layers": 0,
    "kv_channels": 8,
    "initializer_range": 0.2,
    "index_n_heads": 2,
    "index_head_dim": 16,
    "index_topk": 8,
    "dim_model_base": 16,
    "dtype": None,
}
"""Names that many configurations share, with values that make a model small."""
_OWN: dict[str, dict[str, Any]] = {
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "first_k_dense_replace": 1},
    "hunyuan_v1_moe": {"head_dim": 8, "moe_topk": 2},
    "hunyuan_v1_dense": {"head_dim": 8},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2},
    "longcat_flash": {"qk_head_dim": 16, "num_layers": 1, "zero_expert_num": 2, "expert_ffn_hidden_size": 24},
    "laguna": {"num_attention_heads_per_layer": [4, 4]},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "cohere_compass_text": {
        "layer_types": ["full_attention", "sliding_attention"],
        "rope_parameters": {
            kind: {"rope_type": "default", "rope_theta": 10000.0} for kind in ("full_attention", "sliding_attention")
        },
    },
    "qwen2_vl": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}},
    "qwen2_5_vl": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}},
    "glm4v": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}},
    "glm4v_moe": {
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 1.0,
            "mrope_section": [2, 1, 1],
        }
    },
    "lfm2_vl": {"layer_types": ["conv", "full_attention"]},
    "diffllama": {"num_key_value_heads": 4},
}
"""What a configuration needs beside."""
_WHOLE: dict[str, dict[str, Any]] = {
    **HYBRIDS,
    "dbrx": {
        "vocab_size": VOCABULARY,
        "d_model": 32,
        "n_heads": 4,
        "n_layers": 2,
        "max_seq_len": 256,
        "attn_config": {"kv_n_heads": 2, "clip_qkv": 8.0, "rope_theta": 10000.0},
        "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 24, "moe_num_experts": 4, "moe_top_k": 2},
        "initializer_range": 0.2,
    },
}
"""Configurations of which every value is given here."""


def tiny_config(kind: str, **more: Any) -> Any:
    """A small configuration of the model type `kind`."""
    if kind in _WHOLE:
        return AutoConfig.for_model(kind, **{**_WHOLE[kind], "vocab_size": VOCABULARY, **more})
    made = AutoConfig.for_model(kind)
    for part in _parts(made):
        _shrink(part)
    own = made.get_text_config() if hasattr(made, "get_text_config") else made
    if own.to_dict().get("kv_lora_rank") and hasattr(own, "num_key_value_heads"):
        own.num_key_value_heads = own.num_attention_heads
    rotary = own.to_dict().get("rope_parameters") or {}
    if "mrope_section" in rotary:
        own.rope_parameters = {**rotary, "mrope_section": [2, 1, 1]}
    for name, value in {**_OWN.get(kind, {}), **more}.items():
        setattr(own, name, value)
    return made


def _parts(config: Any) -> list[Any]:
    inner = [getattr(config, name) for name in getattr(config, "sub_configs", {}) if getattr(config, name, None)]
    return [config, *(part for one in inner for part in _parts(one))]


def _shrink(config: Any) -> None:
    known = config.to_dict()
    if "per_layer_config" in known:  # by the number of a layer, and there are few here
        config.per_layer_config = None
    layers = next((known[n] for n in ("num_hidden_layers", "n_layer", "num_layers", "n_layers") if n in known), None)
    for name, value in _SIZES.items():
        target = config.attribute_map.get(name, name)
        if target in known and not (known[target] is None and name not in ("pad_token_id", "bos_token_id", "dtype")):
            if isinstance(known[target], bool) or (isinstance(known[target], list | tuple) and name != "eos_token_id"):
                continue
            setattr(config, target, value)
    for name, value in known.items():
        if isinstance(value, list | tuple) and layers and len(value) == layers and layers > 2:
            distinct = list(dict.fromkeys(map(str, value)))
            first = {str(one): one for one in reversed(value)}
            setattr(config, name, [first[one] for one in (distinct * 2)[: max(2, len(distinct))]])
            for count in ("num_hidden_layers", "n_layer", "num_layers"):
                if count in known:
                    setattr(config, count, max(2, len(distinct)))


def tiny_shape(kind: str) -> Any:
    """The tiny model of that type on the meta device, without values."""
    with torch.device("meta"):
        return empty_model(tiny_config(kind), torch.float32).eval()


def tiny_model(kind: str, seed: int = 0, **more: Any) -> Any:
    """A random model (float32) of that type, frozen and in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = tiny_config(kind, **more)
        model = empty_model(config, torch.float32)
        for parameter in model.parameters():
            if kind in HYBRIDS and parameter.dim() >= 2:
                parameter.data.normal_(0.0, parameter[0].numel() ** -0.5)
            elif kind not in HYBRIDS and parameter.dim() == 1 and parameter.std() == 0:
                parameter.data.add_(0.1 * torch.randn_like(parameter))
    model.name_or_path = kind
    return model.eval().requires_grad_(False)


@dataclass(frozen=True)
class Finding:
    """A tiny model of one type: how it is computed, what is adapted, and the largest difference of each comparison."""

    forward: str
    layers: int
    left_out: frozenset[str]
    effect: float
    """Nats by which the random adapter changes log-probabilities: without an effect, nothing would be compared."""
    differences: Mapping[str, float]
    """In nats; of gradients relative to their norm."""
    without_gradient: tuple[str, ...]
    changed_alone: int
    """Calls of which other tokens were sampled when they were sampled alone."""


def finding_of(kind: str, folder: Path) -> Finding:
    """The tiny model of that type learned from, sampled from and exported to `folder`, compared with plain PEFT."""
    base = tiny_model(kind)
    targets = targets_of(base)
    adapters = _random_adapters(copy.deepcopy(base))
    (adapter,) = (one for one in adapters.copies({"other": 1, "policy": 1}) if one.policy == "policy")
    adapters.use("policy")
    forward = forward_of(adapters.model)
    adapter.write(folder)
    exported = PeftModel.from_pretrained(copy.deepcopy(base), str(folder), is_trainable=True).eval()
    calls = _calls()
    wanted = [_full_pass(exported, call) for call in calls]
    differences = {"learner": _apart(_scored(forward, adapters.model, calls), wanted)}
    differences["gradient"], without = _gradients_apart(adapters, forward, exported, calls, wanted)
    said: list[Call] = []
    changed = 0
    for weights in (Merged, Beside):
        engine = Engine(copy.deepcopy(base), frozenset({2}), weights=weights)
        engine.load([adapter])
        requests = [_request(call) for call in calls]
        said = [_as_said(call, one) for call, one in zip(calls, engine.compute(requests), strict=True)]
        found = [torch.tensor(call.logprobs) for call in said]
        name = weights.__name__.lower()
        differences[f"sampler, {name}"] = _apart(found, [_full_pass(exported, call) for call in said])
        differences[f"learner of sampled, {name}"] = _apart(found, _scored(forward, adapters.model, said))
        first = engine.compute(requests[:1])[0]
        changed += first.ids != said[0].completion_ids
    with torch.no_grad():
        merged = exported.merge_and_unload()
        merged.save_pretrained(folder / "merged")
        reloaded = loader_of(merged.config).from_pretrained(
            folder / "merged", config=merged.config, dtype=torch.float32
        )
        differences["merged export"] = _apart([_full_pass(reloaded, call) for call in calls], wanted)
    return Finding(
        forward=forward.name,
        layers=len(targets.layers),
        left_out=frozenset(targets.left_out),
        effect=_apart([_full_pass(base, call) for call in calls], wanted),
        differences=differences,
        without_gradient=without,
        changed_alone=changed,
    )


def _random_adapters(model: Any) -> Adapters:
    base = ModelConfig(path=model.name_or_path)
    settings = {name: PolicySettings(rank=3, alpha=6.0, model=base) for name in ("other", "policy")}
    adapters = Adapters(model, settings, seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameters in adapters.parameters.values():
        for parameter in parameters.values():
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)
    return adapters


def _calls() -> list[Call]:
    """Calls of differing lengths, beyond a sliding window, with prompts that are shared, partly shared or not."""
    source = random.Random(0)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(source.randrange(3, VOCABULARY) for _ in range(count))

    shared = ids(23)
    prompts = [shared, shared, shared[:12] + ids(17), ids(7), ids(41)]
    return [
        Call(
            key=CallKey("role", slot, 0),
            policy="policy",
            version=0,
            messages=(),
            prompt_ids=prompt,
            completion_ids=ids(count),
            logprobs=(),
            text="",
            finish="length",
            seed=slot,
            temperature=1.0,
        )
        for slot, (prompt, count) in enumerate(zip(prompts, (9, 3, 5, 11, 6), strict=True))
    ]


def _request(call: Call) -> Request:
    count = 2 + len(call.completion_ids)
    return Request(
        policy="policy", prompt_ids=call.prompt_ids, max_tokens=count, temperature=call.temperature, seed=call.seed
    )


def _as_said(call: Call, said: Completion) -> Call:
    return replace(call, completion_ids=said.ids, logprobs=said.logprobs)


def _full_pass(model: Any, call: Call) -> Tensor:
    """The completion's log-probabilities by one pass over the call alone, without padding and without a cache."""
    ids = torch.tensor([[*call.prompt_ids, *call.completion_ids]])
    logprobs = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0].float(), dim=-1)
    chosen = logprobs[len(call.prompt_ids) - 1 : -1]
    return chosen.gather(1, torch.tensor(call.completion_ids)[:, None])[:, 0]


@torch.no_grad()
def _scored(forward: Forward, model: Any, calls: Sequence[Call]) -> list[Tensor]:
    rows = forward.score(model, calls).logprobs_CT
    return [row[: len(call.completion_ids)] for row, call in zip(rows, calls, strict=True)]


def _gradients_apart(
    adapters: Adapters, forward: Forward, exported: Any, calls: Sequence[Call], wanted: Sequence[Tensor]
) -> tuple[float, tuple[str, ...]]:
    """The relative difference of the learner's gradient and of PEFT's, and the tensors that have none."""
    weights = torch.tensor([0.5, -1.0, 2.0, 0.7, -0.3])
    mine = dict(adapters.parameters["policy"])
    loss = (forward.score(adapters.model, calls).logprobs_CT * weights[:, None]).sum()
    found = torch.autograd.grad(loss, list(mine.values()), allow_unused=True)
    theirs = {name.replace(".default", ""): one for name, one in exported.named_parameters() if "lora_" in name}
    plain = torch.stack([(row * weight).sum() for row, weight in zip(wanted, weights, strict=True)]).sum()
    expected = torch.autograd.grad(plain, [theirs[name] for name in mine], allow_unused=True)
    without = tuple(name for name, one in zip(mine, found, strict=True) if one is None or not one.abs().max() > 0)
    pairs = [(a, b) for a, b in zip(found, expected, strict=True) if a is not None and b is not None]
    apart = torch.stack([(a - b).pow(2).sum() for a, b in pairs]).sum().sqrt()
    return float(apart / torch.stack([b.pow(2).sum() for _, b in pairs]).sum().sqrt()), without


def _apart(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    return max(float((one.detach() - other.detach()).abs().max()) for one, other in zip(found, wanted, strict=True))
