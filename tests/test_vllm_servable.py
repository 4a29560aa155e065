"""What vLLM cannot serve is one line, said before anything starts; what it takes is in the plan."""

import json
import shutil
from types import SimpleNamespace

import pytest
from torch_build import tiny_folder

from counterpoint.config import ModelConfig
from counterpoint.errors import AbsentPackageError, AbsentRoomError, ConfigError
from counterpoint.models import micro_model
from counterpoint.plan.check import check_parts
from counterpoint.plan.plan import plan
from counterpoint.plan.startable import check_adapters_fit, check_startable
from counterpoint.recipe import load_config
from counterpoint.samplers import _servable
from counterpoint.samplers._async_llm import Demand, Options, arguments, environment
from counterpoint.samplers._servable import stretched
from counterpoint.samplers.footprint import slots_bytes

VLLM = ["sampler.name=vllm", "sampler.cache_gb=0.5"]


@pytest.fixture
def installed(monkeypatch):
    """VLLM seems to be installed here, on a machine with room."""
    monkeypatch.setattr(_servable, "find_spec", lambda name: name)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=2**40))


def checked(*overrides):
    check_parts(load_config("voting_arithmetic", [*VLLM, *overrides]))


def test_a_recipe_that_it_serves_is_not_refused(installed):
    checked()
    checked("rollout.temperature=0.000001")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["policies.rank=513"], "policy 'generator' with policies.rank = 513; allowed: at most 512"),
        (["model.device=cuda"], "with model.dtype = 'float32' on cuda: .* allowed: model.dtype = 'bfloat16'"),
        (["sampler.exact=true"], "sampler.exact = true is for GPUs"),
        (["rollout.temperature=0.005"], "at a temperature of 0.005; allowed: 0.01 and more"),
        (["evaluation.temperature=0.005"], "at a temperature of 0.005; allowed: 0.01 and more"),
        (["sampler.cache_gb=90000"], "cache_gb = 90000 for each base on a CPU is 90000 GiB, but this machine has"),
        (["sampler.max_rows=0"], "sampler.vllm.max_rows = 0"),
        (["sampler.rows=3"], "unknown key .*rows"),
    ],
)
def test_what_it_cannot_serve_is_refused_by_the_plan(installed, overrides, message):
    config = load_config("voting_arithmetic", [*VLLM, *overrides])
    for check in (check_parts, plan):
        with pytest.raises(ConfigError, match=message):
            check(config)


def test_a_gguf_file_is_refused(installed, tmp_path):
    (tmp_path / "model.gguf").touch()
    with pytest.raises(ConfigError, match="it is a GGUF file; allowed: a folder or a hub name"):
        checked(f"model.path={str(tmp_path / 'model.gguf')!r}")


def test_heads_that_are_too_small_for_it_are_refused(installed):
    with pytest.raises(ConfigError, match="on a CPU: its heads have 8 values; allowed: 32 and more"):
        checked(f"model.path={str(tiny_folder())!r}")


def test_it_is_not_installed():
    with pytest.raises(AbsentPackageError, match=r"pip install 'counterpoint\[vllm\]' first"):
        checked()
    with pytest.raises(ConfigError, match="at most 512"):  # what no machine can serve comes first
        checked("policies.rank=513")


def test_what_this_machine_lacks_is_nothing_to_a_runtime_that_uses_others(monkeypatch):
    monkeypatch.setattr("counterpoint.runtimes.is_elsewhere", lambda config: True)
    checked()
    with pytest.raises(ConfigError, match="at most 512"):
        checked("policies.rank=513")


def test_a_tmpfs_without_room_is_refused(installed, monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=2**26))
    with pytest.raises(AbsentRoomError, match=r"has 64 MiB left, and its processes need 256 MiB .* --shm-size"):
        checked()
    monkeypatch.setattr(_servable, "TMPFS", tmp_path / "none")
    with pytest.raises(AbsentRoomError, match=r"there is no .*none, by way of which adapters are given to it"):
        checked()


def test_a_tmpfs_with_room_for_the_engine_and_not_for_the_adapters_is_refused(installed, monkeypatch):
    planned = plan(load_config("voting_arithmetic", [*VLLM, "policies.sharing=isolated"]))
    adapters = 2 * 2 * 4 * planned.adapter_parameters("generator")  # versions, policies, bytes of float32
    free = 2**28 + adapters
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=free))
    check_adapters_fit(planned)
    free -= 1
    with pytest.raises(AbsentRoomError, match=rf"need 256 MiB and {adapters / 2**20:.0f} MiB for adapters; make it"):
        check_adapters_fit(planned)
    with pytest.raises(AbsentRoomError, match="for adapters"):
        check_startable(planned)


def test_the_waves_of_a_plan_are_as_large_as_the_engine_takes_them(installed):
    at_once = [wave.rows for wave in plan(load_config("voting_arithmetic", VLLM)).waves()]
    assert at_once == [256, 128]  # of 384 and 128 calls
    few = plan(load_config("voting_arithmetic", [*VLLM, "sampler.cache_gb=0.01"])).waves()
    assert all(wave.rows * (wave.said + wave.prompt / wave.rows) * wave.cached <= 0.01 * 2**30 for wave in few)
    assert few[0].rows < 256


def test_gpus_that_are_not_here_are_refused(installed, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda place: (8, 0))
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda place: SimpleNamespace(total_memory=2**36))
    half = ["model.device=cuda:1", "model.dtype=bfloat16"]
    checked(*half)
    with pytest.raises(AbsentRoomError, match="tensor_parallel = 2 needs as many GPUs from cuda:1 on; torch finds 2"):
        checked(*half, "sampler.tensor_parallel=2")
    with pytest.raises(AbsentRoomError, match=r"compute capability 9.0 or more; cuda:1 has 8.0"):
        checked(*half, "sampler.exact=true")
    with pytest.raises(AbsentRoomError, match="cache_gb = 65 is more than the 64 GiB of the GPU"):
        checked(*half, "sampler.cache_gb=65")


def test_positions_reach_as_far_as_the_longest_call_if_they_are_not_scaled():
    settings = {"max_position_embeddings": 100, "rope_parameters": {"rope_type": "default"}}
    assert stretched(settings, "m", 100) == {}
    assert stretched(settings, "m", 101) == {"max_position_embeddings": 101}
    assert stretched({"text_config": settings}, "m", 101) == {"text_config": {"max_position_embeddings": 101}}
    for scaled in ({"rope_parameters": {"rope_type": "yarn"}}, {"rope_scaling": {"type": "dynamic"}}):
        with pytest.raises(ConfigError, match="it scales positions; allowed: at most 100"):
            stretched({"max_position_embeddings": 100, **scaled}, "m", 101)


def test_scaled_positions_are_refused_by_the_plan(installed, tmp_path):
    for file in micro_model("micro-medium").iterdir():
        shutil.copy(file, tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    settings["rope_parameters"] |= {"rope_type": "yarn", "factor": 2.0}
    (tmp_path / "config.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"calls of up to .* it scales positions; allowed: at most 2,048"):
        checked(f"model.path={str(tmp_path)!r}", "rollout.max_prompt_tokens=4000")


def test_memory_has_vllms_bases_cache_and_adapters(installed):
    plans = [
        plan(load_config("voting_arithmetic", ["task.train=64", *more])).memory()
        for more in ([], VLLM, [*VLLM, "sampler.cache_gb=2.5"])
    ]
    usual, some, more = (one.lasting for one in plans)
    cache = "keys and values of vLLM (sampler.cache_gb)"
    assert (some[cache], more[cache]) == (2**29, 5 * 2**29)
    assert some["bases, for vLLM"] == some["bases, for the learner"] > 0
    assert set(plans[0].passing) - set(plans[1].passing), "vLLM's own share was counted as caches of this process"
    assert plans[2].peak - plans[1].peak == 2 * 2**30
    assert "bases, for learner and sampler" in usual


def test_slots_by_hand():
    """Rank 4 has the room of rank 8; two versions, each in a slot, in a copy and in a float32 file."""
    assert slots_bytes(100, 4, "float32") == 2 * (200 + 200 + 100)
    assert slots_bytes(100, 8, "bfloat16") == 2 * (50 + 50 + 100)


DEMAND = Demand(policies=3, rank=20, longest=900, stops=frozenset({2}), replaced={"max_position_embeddings": 900})


def test_the_engine_is_asked_for_what_the_policies_need():
    found = arguments(ModelConfig(path="micro-small"), Options(cache_gb=0.5, max_rows=7), DEMAND)
    assert (found["max_loras"], found["max_cpu_loras"], found["max_lora_rank"]) == (6, 6, 32)
    assert (found["max_model_len"], found["max_num_seqs"], found["kv_cache_memory_bytes"]) == (900, 7, 2**29)
    assert found["hf_overrides"] == {"max_position_embeddings": 900}
    assert (found["logprobs_mode"], found["generation_config"]) == ("processed_logprobs", "vllm")
    assert (found["enable_chunked_prefill"], found["max_num_batched_tokens"]) == (False, 2048)
    on_gpu = arguments(ModelConfig(path="micro-small", device="cuda", dtype="bfloat16"), Options(), DEMAND)
    assert "enable_chunked_prefill" not in on_gpu
    assert not on_gpu["enforce_eager"]


def test_an_engine_gets_its_own_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    model = ModelConfig(path="micro-small", device="cuda:1", dtype="bfloat16")
    found = environment(model, Options(tensor_parallel=2, exact=True), threads=1)
    assert found["CUDA_VISIBLE_DEVICES"] == "5,6"
    assert found["VLLM_BATCH_INVARIANT"] == "1"
    on_cpu = environment(ModelConfig(path="micro-small"), Options(), threads=3)
    assert on_cpu["OMP_NUM_THREADS"] == "3"
    assert "VLLM_BATCH_INVARIANT" not in on_cpu
