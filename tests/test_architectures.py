"""Every causal architecture of transformers is right, or refused with a reason: a tiny model of each is tried."""

import json
import re
import shutil
from functools import cache
from pathlib import Path

import pytest
import torch
from architectures import Finding, finding_of, tiny_model, tiny_shape
from safetensors.torch import load_file, save_file
from torch_build import fresh_model, session_folder, tiny_folder
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

from counterpoint.architectures import CHECKED, REFUSED, check_architecture, check_positions
from counterpoint.base_model import base_size, load_base_model, load_chat, model_without_weights
from counterpoint.config import ModelConfig
from counterpoint.errors import CounterpointError, ModelError
from counterpoint.forwards import forward_of
from counterpoint.forwards._layers import unfuse_layers
from counterpoint.forwards.footprint import rehearse, set_up
from counterpoint.plan.check import check_parts
from counterpoint.plan.plan import plan
from counterpoint.targets import targets_of
from counterpoint.testing.tiny import tiny_config

PAGE = (Path(__file__).parent.parent / "docs" / "models.md").read_text(encoding="utf-8")
REPRESENTATIVE = (
    "bloom",
    "deepseek_v3",
    "falcon",
    "gemma3",
    "gpt2",
    "gpt_oss",
    "laguna",
    "mixtral",
    "phi3",
    "qwen2_moe",
    "qwen3",
    "qwen3_5_text",
)
"""One of each kind: ALiBi, latent attention, fused projections, images, transposed weights, sinks, experts, a state."""
LIBRARIES = pytest.mark.filterwarnings("ignore")
"""Libraries warn about many of these odd little models."""
NATS = 1e-3
"""Two correct computations in float32 differ by less, the random adapter changes log-probabilities by 50 times more."""


def rows(page: str) -> dict[str, tuple[str, frozenset[str]]]:
    """The tables of the page: model type -> its forward, and the parts that get no adapters."""
    found = {}
    for forward, section in re.findall(r"^### (packed|plain|whole)\n(.*?)(?=^###)", page, re.M | re.S):
        for adapters, kinds in re.findall(r"^\| [^|]+ \| ([^|]+) \| (`[^|]+`) \|$", section, re.M):
            parts = frozenset() if adapters == "-" else frozenset(adapters.replace("`", "").split(", "))
            found.update(dict.fromkeys(re.findall(r"`([^`]+)`", kinds), (forward, parts)))
    return found


def assert_right(kind: str, found: Finding) -> None:
    assert found.effect > 50 * NATS, f"{kind}: the adapter does nothing"
    assert all(value < NATS for value in found.differences.values()), found.differences
    assert found.without_gradient == ()
    assert found.changed_alone == 0
    assert (found.forward, found.left_out) == rows(PAGE)[kind]


@LIBRARIES
@pytest.mark.parametrize("kind", REPRESENTATIVE)
def test_a_kind_of_architecture_is_learned_sampled_and_exported_alike(kind, tmp_path):
    assert_right(kind, finding_of(kind, tmp_path))


@LIBRARIES
@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(CHECKED - {*REPRESENTATIVE}))
def test_every_architecture_is_learned_sampled_and_exported_alike(kind, tmp_path):
    assert_right(kind, finding_of(kind, tmp_path))


def test_every_causal_architecture_of_transformers_is_checked_or_refused():
    beside_images = CHECKED - set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    assert set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES) == (CHECKED | set(REFUSED)) - beside_images
    assert beside_images <= set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    assert not CHECKED & set(REFUSED)


def test_the_page_has_every_architecture_and_every_reason():
    assert set(rows(PAGE)) == CHECKED
    refused = dict.fromkeys(REFUSED.values())
    listed = {reason: kinds for kinds, reason in re.findall(r"^\| (`[^|]+`) \| ([^|]+) \|$", PAGE, re.M)}
    for reason in refused:
        kinds = {kind for kind, why in REFUSED.items() if why == reason}
        assert set(re.findall(r"`([^`]+)`", listed[reason])) == kinds


# What gets adapters


@cache
def tiny(kind: str):
    return tiny_model(kind)


def test_a_dense_model_has_adapters_on_every_linear_layer_but_its_head():
    model = fresh_model()
    linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
    found = targets_of(model)
    assert set(found.layers) == linear - {"lm_head"}
    assert (found.not_adapted, found.idle, found.transposed) == ("", 0, False)
    assert found.adapted == "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj (2 each)"


def test_experts_and_router_get_no_adapters_but_attention_and_shared_experts_do():
    found = targets_of(tiny("qwen2_moe"))
    assert "model.layers.0.self_attn.q_proj" in found.layers
    assert "model.layers.1.mlp.shared_expert.up_proj" in found.layers
    assert not [path for path in found.layers if path.endswith(".gate") or ".experts" in path]
    assert set(found.left_out) == {"experts", "router"}


def test_a_token_passes_through_the_chosen_experts_alone():
    model = tiny("mixtral")
    found = targets_of(model)
    experts = 2 * 4 * 3 * 32 * 48  # 2 layers of 4 experts with three products
    assert found.left_out["experts"] == experts
    assert found.idle == experts // 2  # 2 of 4 are chosen
    assert found.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_gpt_oss_says_that_its_experts_get_no_adapters():
    found = targets_of(tiny("gpt_oss"))
    assert found.adapted == "q_proj, k_proj, v_proj, o_proj (2 each)"
    assert re.fullmatch(r"(router|experts) \(.*% of the parameters\), (router|experts) \(.*\)", found.not_adapted)


def test_the_layers_of_gpt2_are_measured_as_inputs_and_outputs():
    found = targets_of(tiny("gpt2"))
    assert found.transposed
    assert found.layers["transformer.h.0.attn.c_attn"] == (32, 96)
    assert found.layers["transformer.h.0.mlp.c_proj"] == (128, 32)


def test_what_does_not_read_text_gets_no_adapters():
    assert not [path for path in targets_of(tiny("gemma3")).layers if "language_model" not in path]
    assert not [path for path in targets_of(tiny("phi4_multimodal")).layers if "embed_tokens_extend" in path]


@pytest.mark.parametrize("kind", ["gpt2", "qwen3_moe", "deepseek_v3", "gemma3"])
def test_the_same_layers_are_found_without_weights(kind):
    assert targets_of(tiny_shape(kind)) == targets_of(tiny(kind))


# Memory


def test_the_memory_of_a_mixture_of_experts_is_counted_without_weights():
    dense, mixed = (tiny_shape(kind) for kind in ("qwen3", "qwen3_moe"))
    for model in (dense, mixed):
        set_up(model)
    unfuse_layers(dense)  # since only layers without experts are computed in ways that keep less
    # 2 experts of 24 values for each token against one of 48: as much is kept, beside the routing.
    assert rehearse(mixed).kept == pytest.approx(rehearse(dense).kept, rel=0.35)
    assert rehearse(mixed).cached == rehearse(dense).cached


def test_the_memory_of_a_model_that_cannot_be_packed_is_an_error_of_one_line():
    for kind in ("bloom", "mistral", "qwen3_5_text", "llama4"):
        model = tiny_shape(kind)
        set_up(model)
        with pytest.raises(ModelError, match=r"^[^\n]+$"):
            rehearse(model)


# Refusals


def folder_of(name: str, **settings) -> Path:
    """A copy of the tiny model's folder whose settings are others."""
    place = session_folder() / name
    shutil.copytree(tiny_folder(), place, dirs_exist_ok=True)
    known = json.loads((place / "config.json").read_text())
    (place / "config.json").write_text(json.dumps({**known, **settings}))
    return place


def refused(place: Path, call) -> str:
    with pytest.raises(CounterpointError) as caught:
        call(place)
    message = str(caught.value)
    assert "\n" not in message
    assert str(place) in message
    assert "allowed: " in message
    return message


CALLS = {
    "recipe": lambda place: check_parts(tiny_config(place)),
    "plan": lambda place: plan(tiny_config(place)),
    "model": lambda place: load_base_model(ModelConfig(path=str(place))),
    "chat": lambda place: load_chat(ModelConfig(path=str(place))),
    "shape": lambda place: model_without_weights(ModelConfig(path=str(place))),
    "size": lambda place: base_size(ModelConfig(path=str(place))),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_architecture_that_cannot_be_right_is_refused_in_one_line_wherever_it_is_read(call):
    message = refused(folder_of("bert", model_type="bert"), CALLS[call])
    assert "'bert': it reads a text in both directions" in message


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"model_type": "bart"}, "it has an encoder"),
        ({"model_type": "t5", "is_encoder_decoder": True}, "it has an encoder"),
        ({"model_type": "musicgen"}, "it generates sound"),
        ({"model_type": "deepseek_v32"}, "its sparse attention chooses other tokens"),
        ({"model_type": "reformer"}, "what it generates token by token"),
        ({"model_type": "paligemma"}, "it has not been checked"),
        ({"model_type": "florence2"}, "it has not been checked"),
        (
            {"model_type": "their_own", "auto_map": {"AutoModelForCausalLM": "own.Model"}},
            "its own code is never executed",
        ),
        ({"quantization_config": {"quant_method": "fp8"}}, r"its weights are quantized \(fp8\)"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, r"its weights are quantized \(gptq\)"),
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, r"its weights are quantized \(awq\)"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}, r"\(bitsandbytes\)"),
        ({"quantization_config": {"load_in_8bit": True}}, r"\(unknown\)"),
    ],
)
def test_a_refusal_names_the_model_the_architecture_and_the_reason(settings, reason):
    known = {"model_type": "llama", **settings}
    with pytest.raises(
        ModelError, match=rf"model.path = 'a/b' is not supported: .*'{known['model_type']}': .*{reason}"
    ):
        check_architecture(known, "a/b")


def test_an_architecture_that_was_checked_is_accepted():
    for kind in CHECKED:
        check_architecture({"model_type": kind, "auto_map": {"AutoConfig": "own.Config"}}, "a/b")


def test_settings_without_a_type_are_left_to_transformers():
    check_architecture({}, "a/b")


def test_a_model_that_cannot_be_computed_right_is_refused_when_it_is_loaded_whatever_its_name():
    for kind in ("bert", "roberta", "electra"):
        with pytest.raises(ModelError, match=r"^[^\n]+$"):
            forward_of(tiny_model(kind))


# Weights that are expanded

FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])
"""The values of four bits: a sign, two bits of exponent, one of mantissa."""


def quantized(folder: Path) -> dict[str, torch.Tensor]:
    """A GPT-OSS whose experts are in MXFP4, as it is published; returns what these weights mean."""
    tokenizer = load_chat(ModelConfig(path=str(tiny_folder()))).tokenizer
    model = tiny_model("gpt_oss", intermediate_size=32, vocab_size=len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(str(folder))
    tensors, meaning = {}, {}
    generator = torch.Generator().manual_seed(0)
    for name, tensor in load_file(folder / "model.safetensors").items():
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            tensors[name] = tensor
            continue
        experts, inputs, outputs = tensor.shape
        blocks = torch.randint(0, 256, (experts, outputs, inputs // 32, 16), dtype=torch.uint8, generator=generator)
        scales = torch.randint(122, 126, (experts, outputs, inputs // 32), dtype=torch.uint8, generator=generator)
        tensors |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
        values = torch.stack([FP4[(blocks & 15).long()], FP4[(blocks >> 4).long()]], dim=-1).flatten(-2)
        meaning[name] = (values * 2.0 ** (scales.int() - 127)[..., None]).flatten(2).transpose(1, 2)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((folder / "config.json").read_text())
    settings["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
    (folder / "config.json").write_text(json.dumps(settings))
    return meaning


def test_the_weights_of_gpt_oss_are_expanded_exactly_and_saved_as_what_they_are(tmp_path):
    meaning = quantized(tmp_path / "quantized")
    model = load_base_model(ModelConfig(path=str(tmp_path / "quantized"))).model
    assert len(meaning) == 4
    for name, wanted in meaning.items():
        assert torch.equal(model.get_parameter(name), wanted)
    model.save_pretrained(tmp_path / "saved")
    again = load_file(tmp_path / "saved" / "model.safetensors")
    assert all(torch.equal(again[name], wanted) for name, wanted in meaning.items())
    assert "quantization_config" not in json.loads((tmp_path / "saved" / "config.json").read_text())
    assert base_size(ModelConfig(path=str(tmp_path / "quantized"))).parameters == sum(
        parameter.numel() for parameter in model.parameters()
    )


@pytest.mark.parametrize(
    ("settings", "longest"),
    [
        ({"model_type": "gpt2", "n_positions": 1024}, 1025),
        ({"model_type": "gpt2", "max_position_embeddings": 1024, "n_positions": 8192}, 2048),
        ({"model_type": "gptj", "n_positions": 16}, 17),
        ({"model_type": "gpt_bigcode", "n_positions": 2048}, 4096),
        ({"model_type": "codegen", "n_positions": 2048}, 2049),
        ({"model_type": "ctrl", "n_positions": 256}, 300),
        ({"model_type": "opt", "max_position_embeddings": 2048}, 2064),
        ({"model_type": "gpt_neo", "max_position_embeddings": 2048}, 9999),
        ({"model_type": "biogpt", "max_position_embeddings": 1024}, 1025),
        ({"model_type": "openai-gpt", "n_positions": 512}, 513),
        ({"model_type": "mpt", "max_seq_len": 2048}, 2049),
    ],
)
def test_calls_longer_than_a_table_of_positions_are_refused(settings, longest):
    with pytest.raises(ModelError, match=rf"'a/b' has [\d,]+ positions, and calls have up to {longest:,} tokens"):
        check_positions(settings, "a/b", longest)
    most = next(iter({name: value for name, value in settings.items() if name != "model_type"}.values()))
    check_positions(settings, "a/b", most)


def test_positions_that_are_computed_may_exceed_the_trained_length():
    for kind in ("llama", "qwen3", "bloom", "xglm", "gpt_neox", "falcon", "mamba", "qwen3_next", "phi3"):
        check_positions({"model_type": kind, "max_position_embeddings": 16}, "a/b", 4096)
    check_positions({"model_type": "gpt2"}, "a/b", 4096)


@pytest.mark.parametrize(
    "kind", ["gpt2", "opt", "gpt_neo", "gpt_bigcode", "gptj", "codegen", "biogpt", "ctrl", "mpt", "openai-gpt"]
)
def test_those_are_the_models_that_fail_beyond_their_positions(kind):
    model = tiny_model(kind)
    most = model.config.max_seq_len if kind == "mpt" else model.config.max_position_embeddings
    model(torch.full((1, most), 5), use_cache=False)
    with pytest.raises((IndexError, RuntimeError)):
        model(torch.full((1, most + 1), 5), use_cache=False)
    with pytest.raises(ModelError):
        check_positions(model.config.to_dict(), "a/b", most + 1)
