import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch_build import tiny_base, tiny_folder

from counterpoint.base_model import _without_bar, base_size, load_base_model, load_chat
from counterpoint.config import ModelConfig
from counterpoint.errors import ModelError
from counterpoint.testing.tiny import tiny_adapters, tiny_model_folder

BASE = tiny_base()


@pytest.fixture
def copied(tmp_path):
    """A copy of the tiny model's folder, to be damaged."""
    return shutil.copytree(tiny_folder(), tmp_path / "model")


def refused(path) -> str:
    with pytest.raises(ModelError) as caught:
        load_base_model(ModelConfig(path=str(path)))
    message = str(caught.value)
    assert "\n" not in message
    assert repr(str(path)) in message
    return message


def test_a_loaded_base_is_frozen_in_evaluation_mode_and_float32():
    model = BASE.model
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_a_base_loads_in_the_precision_that_the_recipe_names():
    model = load_base_model(ModelConfig(path=str(tiny_folder()), dtype="bfloat16")).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_the_stop_tokens_are_those_of_the_generation_settings_and_of_the_tokenizer(copied):
    (end,) = BASE.chat.stop_ids
    assert BASE.chat.tokenizer.decode([end], skip_special_tokens=False) == "<|im_end|>"
    settings = json.loads((copied / "generation_config.json").read_text())
    (copied / "generation_config.json").write_text(json.dumps({**settings, "eos_token_id": [3, 5]}))
    assert load_base_model(ModelConfig(path=str(copied))).chat.stop_ids == {3, 5, end}


def test_without_generation_settings_the_stop_tokens_are_those_that_the_model_names(copied):
    (end,) = BASE.chat.stop_ids
    (copied / "generation_config.json").unlink()
    settings = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**settings, "eos_token_id": [3, 5]}))
    assert load_chat(ModelConfig(path=str(copied))).stop_ids == {3, 5, end}
    del settings["eos_token_id"]
    (copied / "config.json").write_text(json.dumps(settings))
    assert load_chat(ModelConfig(path=str(copied))).stop_ids == {end}
    (copied / "config.json").write_text(json.dumps({**settings, "text_config": {"eos_token_id": 7}}))
    assert load_chat(ModelConfig(path=str(copied))).stop_ids == {7, end}


def test_a_chat_is_read_without_weights(copied):
    (copied / "model.safetensors").unlink()
    chat = load_chat(ModelConfig(path=str(copied)))
    assert chat.prompt([{"role": "user", "content": "Hi"}]) == BASE.chat.prompt([{"role": "user", "content": "Hi"}])


def test_the_size_is_counted_without_weights(copied):
    (copied / "model.safetensors").unlink()
    size = base_size(ModelConfig(path=str(copied)))
    assert size.parameters == sum(parameter.numel() for parameter in BASE.model.parameters())
    # Two layers: q 32+32, k and v 32+16, o 32+32, gate and up 32+64, down 64+32.
    assert size.linear_width == 2 * (64 + 2 * 48 + 64 + 3 * 96)


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_named(device):
    with pytest.raises(ModelError, match=f"model.device = '{device}' cannot be used: [^\n]+$"):
        load_base_model(ModelConfig(path=str(tiny_folder()), device=device))


@pytest.mark.parametrize("path", ["/nowhere/at/all", "./nowhere", "~/nowhere-at-all"])
def test_a_folder_that_does_not_exist_is_named(path):
    assert "there is no such folder" in refused(path)


def test_a_hub_name_that_cannot_be_had_is_named_with_what_is_allowed(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "micro-medium" in refused("no-such-person/no-such-model")


def test_a_gguf_file_that_does_not_exist_is_named(tmp_path):
    assert "there is no such file" in refused(tmp_path / "model.gguf")


def test_a_gguf_file_that_is_none_is_refused(tmp_path):
    pytest.importorskip("gguf")
    (tmp_path / "model.gguf").write_bytes(b"not a model")
    refused(tmp_path / "model.gguf")


@pytest.mark.parametrize("path", ["package:no_such_package/model.gguf", "package:", "package:a-b/c", "package:/x"])
def test_a_package_that_is_not_installed_is_named(path):
    assert "no package" in refused(path)


def test_a_file_that_an_installed_package_does_not_have_is_named():
    assert "there is no such file" in refused("package:counterpoint/no-such.gguf")
    assert "there is no such folder" in refused("package:counterpoint/no-such-folder")


def test_an_empty_folder_is_refused(tmp_path):
    refused(tmp_path)


def test_a_folder_without_weights_is_refused(copied):
    (copied / "model.safetensors").unlink()
    refused(copied)


def test_a_folder_without_a_chat_template_is_refused(copied):
    (copied / "chat_template.jinja").unlink()
    assert "no chat template" in refused(copied)


def test_damaged_weights_are_refused(copied):
    weights = copied / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    refused(copied)


def test_weights_of_another_shape_are_refused(copied):
    settings = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**settings, "intermediate_size": 48}))
    refused(copied)


def test_a_folder_with_an_adapter_is_refused_rather_than_loaded_as_a_base_with_it(copied):
    (adapter,) = tiny_adapters(BASE.model, ["one"])
    replace(adapter, settings={**adapter._fewest_settings(), "base_model_name_or_path": str(copied)}).write(copied)
    assert "holds an adapter" in refused(copied)


def test_a_damaged_tokenizer_is_refused(copied):
    (copied / "tokenizer.json").write_text("{}")
    refused(copied)


def test_weights_that_lack_a_tensor_are_refused_rather_than_filled_with_noise(copied):
    weights = load_file(copied / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copied / "model.safetensors", metadata={"format": "pt"})
    assert "model.layers.1.mlp.up_proj.weight" in refused(copied)


def test_a_model_without_any_stop_token_is_refused(copied):
    (copied / "generation_config.json").unlink()
    for name in ("config.json", "tokenizer_config.json"):
        settings = json.loads((copied / name).read_text())
        (copied / name).write_text(json.dumps({key: v for key, v in settings.items() if not key.startswith("eos")}))
    assert "ends a reply" in refused(copied)


def test_a_tiny_model_is_the_same_for_the_same_seed_alone(tmp_path):
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    one, again = tiny_model_folder(tmp_path / "one", seed=4), tiny_model_folder(tmp_path / "again", seed=4)
    other = tiny_model_folder(tmp_path / "other", seed=5)
    assert torch.equal(torch.random.get_rng_state(), state)
    contents = [(folder / "model.safetensors").read_bytes() for folder in (one, again, other)]
    assert contents[0] == contents[1] != contents[2]


def test_a_gguf_file_is_converted_without_a_progress_bar(capfd):
    from transformers import modeling_gguf_pytorch_utils as converting

    before = converting.tqdm
    with _without_bar():
        assert list(converting.tqdm([1, 2], desc="Converting")) == [1, 2]
    assert converting.tqdm is before
    assert capfd.readouterr() == ("", "")
