"""Adapters as files: read, written, digested, and checked against PEFT's own reading of them."""

import json
import re
import warnings
from dataclasses import replace
from hashlib import sha256

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from torch_build import ISOLATED, adapter_of, fresh_model, new_learner, same_tensors, tiny_base

from counterpoint.adapter import ADAPTER_CONFIG, ADAPTER_FILE, Adapter, digest_of, starting_adapter, tensor_names
from counterpoint.errors import AdapterError
from counterpoint.testing.tiny import tiny_adapters


def made(scale=2.0):
    (adapter,) = tiny_adapters(tiny_base().model, ["one"], scale=scale)
    return adapter


def test_the_digest_is_over_names_and_raw_values():
    values = torch.tensor([1.0, 2.0])
    assert digest_of({"a": values}) == sha256(b"a\0" + values.numpy().tobytes()).hexdigest()
    assert digest_of({"a": values}) != digest_of({"b": values})


def test_an_adapter_that_was_written_is_read_as_the_same(tmp_path):
    adapter = made()
    adapter.write(tmp_path / "one")
    again = Adapter.read(tmp_path / "one", policy="one", version=1)
    assert (again.scale, again.version, again.policy) == (2.0, 1, "one")
    assert same_tensors(again.tensors, adapter.tensors)
    assert again.digest == adapter.digest


def test_what_was_read_is_written_again_byte_by_byte(tmp_path):
    new_learner(ISOLATED).save(tmp_path / "first")
    Adapter.read(tmp_path / "first" / "writer", policy="writer").write(tmp_path / "second")
    for name in (ADAPTER_FILE, ADAPTER_CONFIG):
        assert (tmp_path / "second" / name).read_bytes() == (tmp_path / "first" / "writer" / name).read_bytes()


def test_a_learners_checkpoint_holds_its_adapter_and_its_scale(tmp_path):
    learner = new_learner(ISOLATED)
    learner.save(tmp_path)
    found = Adapter.read(tmp_path / "critic", policy="critic")
    assert found.scale == adapter_of(learner, "critic").scale == 2.0
    assert found.digest == learner.digests()["critic"]


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_peft_reads_an_adapter_that_never_was_in_a_learner(tmp_path):
    adapter = made(scale=0.5)
    adapter.write(tmp_path / "one")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(fresh_model(), str(tmp_path / "one")).merge_and_unload()
    base = dict(tiny_base().model.named_parameters())
    module, a_RI, b_OR = next(adapter.layers())
    found = dict(model.named_parameters())[f"{module}.weight"]
    assert torch.allclose(found, base[f"{module}.weight"] + 0.5 * b_OR @ a_RI, atol=1e-6)


def test_layers_come_in_pairs_by_their_path_in_the_base():
    name_A, name_B = tensor_names("model.layers.0.mlp.up_proj")
    assert name_A == "base_model.model.model.layers.0.mlp.up_proj.lora_A.weight"
    a_RI, b_OR = torch.ones(2, 3), torch.ones(4, 2)
    adapter = replace(made(), tensors={name_B: b_OR, name_A: a_RI})
    assert [module for module, _, _ in adapter.layers()] == ["model.layers.0.mlp.up_proj"]
    assert list(Adapter.base("one").layers()) == []


def test_a_policy_starts_only_from_an_adapter_of_its_own_scale(tmp_path):
    adapter = made(scale=4.0)
    adapter.write(tmp_path)
    assert starting_adapter(tmp_path, policy="one", alpha=64.0, rank=16).digest == adapter.digest
    with pytest.raises(AdapterError, match=r"policy 'one': .* lora_alpha / r = 4, .* 32 / 16: set its alpha to 64"):
        starting_adapter(tmp_path, policy="one", alpha=32.0, rank=16)


def test_bad_folders_are_refused_in_one_line(tmp_path):
    with pytest.raises(AdapterError, match="nowhere holds no adapter"):
        Adapter.read(tmp_path / "nowhere", policy="one")
    (tmp_path / ADAPTER_FILE).write_bytes(b"torn")
    with pytest.raises(AdapterError, match="holds no adapter"):
        Adapter.read(tmp_path, policy="one")
    save_file({"a": torch.zeros(1)}, tmp_path / ADAPTER_FILE)
    with pytest.raises(AdapterError, match=r"adapter_config\.json"):
        Adapter.read(tmp_path, policy="one")
    for settings, message in (
        ({"r": 0, "lora_alpha": 1}, "does not say lora_alpha and r"),
        ({"lora_alpha": 1}, "does not say lora_alpha and r"),
        ({"r": 4, "lora_alpha": 8, "use_rslora": True}, "use_rslora = True is not supported"),
        ({"r": 4, "lora_alpha": 8, "alora_invocation_tokens": [5]}, r"alora_invocation_tokens = \[5\] is not"),
        ({"r": 4, "lora_alpha": 8, "peft_type": "IA3"}, "peft_type = 'IA3' is not supported; allowed: 'LORA'"),
        ({"r": 4, "lora_alpha": 8, "init_lora_weights": "pissa_niter_4"}, "'pissa_niter_4' is not supported, since"),
        ([4, 8], "holds no adapter: adapter_config.json"),
    ):
        (tmp_path / ADAPTER_CONFIG).write_text(json.dumps(settings))
        with pytest.raises(AdapterError, match=message):
            Adapter.read(tmp_path, policy="one")


def test_where_the_scale_is_known_no_settings_are_needed(tmp_path):
    adapter = made()
    adapter.write(tmp_path)
    (tmp_path / ADAPTER_CONFIG).unlink()
    found = Adapter.read(tmp_path, policy="one", scale=1.5)
    assert (found.scale, found.digest) == (1.5, adapter.digest)


PATH = "model.layers.0.self_attn.q_proj"
A, B = tensor_names(PATH)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda found: {}, "holds no tensors"),
        (lambda found: {**found, "base_model.model.lm_head.weight": found[A] + 1}, "lm_head.weight', but only"),
        (lambda found: {**found, f"{A[:-13]}bias": found[A][0] + 1}, "q_proj.bias', but only"),
        (lambda found: {**found, B.replace("weight", "bias"): found[A][0] + 1}, "lora_B.bias', but only"),
        (lambda found: {name.replace(".weight", ".default.weight"): one for name, one in found.items()}, "but only"),
        (lambda found: {name.removeprefix("base_model.model."): one for name, one in found.items()}, "but only"),
        (lambda found: {name: one for name, one in found.items() if name != A}, f"but lacks '{A}'"),
        (lambda found: {name: one for name, one in found.items() if name != B}, f"but lacks '{B}'"),
        (lambda found: {**found, A: found[A][:3].contiguous()}, "are no pair of r = 4"),
        (lambda found: {A: found[A][:3].contiguous(), B: found[B][:, :3].contiguous()}, "are no pair of r = 4"),
        (lambda found: {**found, A: found[A][0].contiguous()}, "are no pair of r = 4"),
        (lambda found: {**found, B: found[B] * torch.nan}, f"'{B}' has values that are no numbers"),
        (lambda found: {**found, A: found[A] / 0}, f"'{A}' has values that are no numbers, or infinite"),
    ],
)
def test_an_adapter_that_is_more_or_less_than_pairs_is_refused(tmp_path, change, message):
    adapter = made()
    adapter.write(tmp_path)
    save_file(change(dict(adapter.tensors)), tmp_path / ADAPTER_FILE)
    with pytest.raises(AdapterError, match=re.escape(message)):
        Adapter.read(tmp_path, policy="one")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_an_adapter_that_changed_its_base_is_refused_as_it_says_something_else_beside_it(tmp_path, start):
    model = get_peft_model(fresh_model(), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=start))
    model.save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=f"init_lora_weights = '{start}' is not supported"):
        Adapter.read(tmp_path, policy="one")
