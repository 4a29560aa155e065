"""Tiny models of the architectures whose layers keep a state: linear attention, state spaces, short convolutions."""

from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

VOCABULARY = 90
_SIZE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "max_position_embeddings": 512,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_DELTA: dict[str, Any] = {
    "head_dim": 8,
    "linear_conv_kernel_dim": 4,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "layer_types": ["linear_attention", "full_attention"],
}
_EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
_MAMBA2: dict[str, Any] = {
    "mamba_n_heads": 8,
    "mamba_d_head": 8,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_chunk_size": 16,
}
_PURE: dict[str, Any] = {
    name: _SIZE[name] for name in ("vocab_size", "hidden_size", "num_hidden_layers", "pad_token_id", "eos_token_id")
}
_LATENT: dict[str, Any] = {
    "num_key_value_heads": 4,
    "kv_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
    "qk_nope_head_dim": 8,
    "moe_intermediate_size": 16,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "n_group": 1,
    "topk_group": 1,
}
HYBRIDS: dict[str, dict[str, Any]] = {
    "qwen3_next": {**_SIZE, **_DELTA, **_EXPERTS},
    "qwen3_5_text": {**_SIZE, **_DELTA},
    "qwen3_5_moe_text": {**_SIZE, **_DELTA, **_EXPERTS},
    "olmo_hybrid": {**_SIZE, **_DELTA, "num_key_value_heads": 4},
    "kimi_linear": {
        **_SIZE,
        **_LATENT,
        "linear_head_dim": 8,
        "linear_num_heads": 4,
        "linear_conv_kernel_dim": 4,
        "layer_types": ["linear_attention", "full_attention"],
        "mlp_layer_types": ["dense", "sparse"],
    },
    "bailing_hybrid": {
        **_SIZE,
        **_LATENT,
        "head_dim": 8,
        "layer_types": ["linear_attention", "full_attention"],
        "mlp_layer_types": ["dense", "sparse"],
    },
    "minimax": {
        **_SIZE,
        "head_dim": 8,
        "block_size": 16,
        "num_local_experts": 4,
        "layer_types": ["linear_attention", "full_attention"],
    },
    "lfm2": {**_SIZE, "layer_types": ["conv", "full_attention"]},
    "lfm2_moe": {
        **_SIZE,
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
        "num_dense_layers": 1,
        "layer_types": ["conv", "full_attention"],
    },
    "lfm3": {
        **_SIZE,
        "num_hidden_layers": 3,
        "head_dim": 8,
        "sliding_window": 16,
        "layer_types": ["conv", "sliding_attention", "full_attention"],
    },
    "jamba": {
        **_SIZE,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "num_experts": 4,
        "mamba_d_state": 8,
    },
    "bamba": {**_SIZE, **_MAMBA2, "attn_layer_indices": [1]},
    "falcon_h1": {**_SIZE, **_MAMBA2, "mamba_d_ssm": 64},
    "granitemoehybrid": {**_SIZE, **_MAMBA2, "layer_types": ["mamba", "attention"], "num_local_experts": 4},
    "zamba": {
        **_SIZE,
        "num_key_value_heads": 4,
        "num_hidden_layers": 4,
        "mamba_d_state": 8,
        "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
    },
    "zamba2": {
        **_SIZE,
        "num_key_value_heads": 4,
        "num_hidden_layers": 4,
        "mamba_d_state": 8,
        "chunk_size": 16,
        "n_mamba_heads": 8,
        "layers_block_type": ["mamba", "hybrid", "mamba", "hybrid"],
    },
    "nemotron_h": {
        **{name: value for name, value in _SIZE.items() if name != "num_hidden_layers"},
        "layers_block_type": ["mamba", "attention", "moe"],
        "head_dim": 8,
        "ssm_state_size": 8,
        "mamba_num_heads": 8,
        "mamba_head_dim": 8,
        "n_groups": 2,
        "chunk_size": 16,
        "n_routed_experts": 4,
        "moe_intermediate_size": 16,
        "moe_shared_expert_intermediate_size": 16,
    },
    "recurrent_gemma": {
        **_SIZE,
        "num_hidden_layers": 3,
        "attention_window_size": 16,
        "lru_width": 32,
        "num_key_value_heads": 1,
    },
    "mamba": {**_PURE, "state_size": 8},
    "falcon_mamba": {**_PURE, "state_size": 8},
    "mamba2": {**_PURE, "num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 2, "chunk_size": 16},
    "rwkv": {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "context_length": 512},
    "xlstm": {**_PURE, "num_heads": 4, "chunk_size": 16},
    "zaya": {
        **_SIZE,
        "head_dim": 8,
        "num_experts": 4,
        "num_experts_per_tok": 1,
        "moe_intermediate_size": 16,
        "router_hidden_size": 16,
    },
    "qwen4_exp_text": {
        **_SIZE,
        **_DELTA,
        **_EXPERTS,
        "layer_types": ["linear_attention", "indexed_attention"],
        "hc_lowrank": 8,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 64,
        "indexer_compress_ratio": 4,
    },
}


def hybrid(name: str, **changes: Any) -> Any:
    """A tiny model of that type, with weights large enough for every layer to matter."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **{**HYBRIDS[name], **changes}))
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        if parameter.dim() >= 2:
            inputs = parameter[0].numel()
            parameter.data.normal_(0.0, inputs**-0.5, generator=generator)
    return model.eval().requires_grad_(False)
