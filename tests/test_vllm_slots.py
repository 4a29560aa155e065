"""A worker's slots are compared with the adapter's file, number by number, with a stand-in for vLLM's manager."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from counterpoint.adapter import Adapter
from counterpoint.samplers._served import OWNER, Served

RANK, ROOM, WIDTH = 2, 8, 6
LAYERS = ("layers.0.q_proj", "layers.0.k_proj", "layers.0.v_proj", "layers.0.o_proj")
ROWS = {"q_proj": 8, "k_proj": 4, "v_proj": 4, "o_proj": WIDTH}


def tensors_of(layers=LAYERS, seed=0):
    random, found = torch.Generator().manual_seed(seed), {}
    for layer in layers:
        rows = ROWS[layer.rpartition(".")[2]]
        found[f"base_model.model.{layer}.lora_A.weight"] = torch.randn(RANK, WIDTH, generator=random)
        found[f"base_model.model.{layer}.lora_B.weight"] = torch.randn(rows, RANK, generator=random)
    return found


def adapter(layers=LAYERS, scale=1.0, seed=0):
    return Adapter(policy="one", version=1, tensors=tensors_of(layers, seed), scale=scale)


class Manager:
    """Two slots for a layer in which queries, keys and values are one, and for another; slot 1 holds the adapter."""

    def __init__(self, held, dtype=torch.float32, number=7):
        self.packed_modules_mapping = {"qkv_proj": ["q_proj", "k_proj", "v_proj"]}
        self.lora_index_to_id = [None, number]
        self.modules = {"layers.0.qkv_proj": self._made(3, dtype), "layers.0.o_proj": self._made(1, dtype)}
        for name, pieces in (("layers.0.qkv_proj", ("q_proj", "k_proj", "v_proj")), ("layers.0.o_proj", ("o_proj",))):
            for place, piece in enumerate(pieces):
                self._fill(self.modules[name], place, held, f"layers.0.{piece}", dtype)

    def _made(self, pieces, dtype):
        rows = [8, 4, 4] if pieces == 3 else [WIDTH]
        return SimpleNamespace(
            lora_a_stacked=tuple(torch.zeros(2, 1, ROOM, WIDTH, dtype=dtype) for _ in rows),
            lora_b_stacked=tuple(torch.zeros(2, 1, count, ROOM, dtype=dtype) for count in rows),
            tp_size=1,
        )

    def _fill(self, module, place, held, path, dtype):
        a, b = (held.tensors.get(f"base_model.model.{path}.lora_{side}.weight") for side in "AB")
        if a is not None:
            module.lora_a_stacked[place][1, 0, :RANK] = a.to(dtype)
            module.lora_b_stacked[place][1, 0, :, :RANK] = b.to(dtype) * held.scale


def proved(tmp_path, manager, told, number=7, scale=None):
    told.write(tmp_path)
    worker = Served()
    worker.model_runner = SimpleNamespace(lora_manager=SimpleNamespace(_adapter_manager=manager))
    return worker.prove_adapter(number, str(tmp_path), told.scale if scale is None else scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 2.0, 0.3])
def test_slots_that_hold_the_file_have_its_digest(tmp_path, dtype, scale):
    one = adapter(scale=scale)
    assert proved(tmp_path, Manager(one, dtype), one) == {"digest": one.digest}


def test_an_adapter_of_some_layers_leaves_the_others_at_zero(tmp_path):
    one = adapter(LAYERS[:1])
    assert proved(tmp_path, Manager(one), one) == {"digest": one.digest}


def changed(change):
    manager = Manager(adapter())
    change(manager)
    return manager


def one_number_off(manager):
    manager.modules["layers.0.qkv_proj"].lora_b_stacked[1][1, 0, 0, 0] += 1e-3


def not_padded(manager):
    manager.modules["layers.0.o_proj"].lora_a_stacked[0][1, 0, -1, 0] = 1.0


@pytest.mark.parametrize(
    ("manager", "told", "fault"),
    [
        (lambda: Manager(adapter(seed=1)), adapter(), "the slot of layers.0.q_proj holds something else than its file"),
        (lambda: changed(one_number_off), adapter(), "the slot of layers.0.k_proj holds something else than its file"),
        (lambda: changed(not_padded), adapter(), "the slot of layers.0.o_proj holds something else than its file"),
        (
            lambda: Manager(adapter()),
            adapter(LAYERS[:3]),
            "layers.0.o_proj holds another adapter's weights",
        ),
        (lambda: Manager(adapter(scale=2.0)), adapter(scale=1.0), "the slot of layers.0.q_proj holds something else"),
        (lambda: Manager(adapter(), number=8), adapter(), "adapter 7 is in 0 slots of 2"),
        (lambda: SimpleNamespace(), adapter(), "this version of vLLM keeps its adapters in another way"),
    ],
)
def test_slots_that_hold_anything_else_have_a_fault(tmp_path, manager, told, fault):
    found = proved(tmp_path, manager(), told)
    assert list(found) == ["fault"]
    assert fault in found["fault"]


def test_a_tensor_that_is_in_no_slot_is_a_fault(tmp_path):
    manager = Manager(adapter())
    del manager.modules["layers.0.o_proj"]
    found = proved(tmp_path, manager, adapter())
    assert "2 of its 8 tensors are in no slot" in found["fault"]


def test_the_scale_of_the_file_is_that_of_the_learner(tmp_path):
    one = adapter(scale=2.0)
    found = proved(tmp_path, Manager(one), one, scale=1.0)
    assert found == {"fault": "its file says a scale of 2.0, the learner 1.0"}


class Sliced(SimpleNamespace):
    """The first half of the rows of B, as the first of two workers holds it."""

    def slice_lora_a(self, a):
        return a

    def slice_lora_b(self, b):
        return [one[: len(one) // 2] for one in b] if isinstance(b, list) else b[: len(b) // 2]


def test_a_worker_that_holds_a_part_is_compared_with_that_part(tmp_path):
    one = adapter()
    manager = Manager(one)
    for name, module in manager.modules.items():
        parts = tuple(stack[:, :, : stack.shape[2] // 2] for stack in module.lora_b_stacked)
        manager.modules[name] = Sliced(lora_a_stacked=module.lora_a_stacked, lora_b_stacked=parts, tp_size=2)
    assert proved(tmp_path, manager, one) == {"digest": one.digest}
    manager.modules["layers.0.o_proj"].lora_b_stacked[0][1, 0, 0, 0] += 1
    assert "layers.0.o_proj" in proved(tmp_path, manager, one)["fault"]


WORKER = "import counterpoint.samplers._served, time; print('up', flush=True); time.sleep(600)"
CORE = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {WORKER!r}])"


@pytest.mark.parametrize("who", ["owner", "core"])
def test_a_worker_ends_with_the_process_that_started_its_engine_and_with_its_core(who):
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]) as owner:
        told = {**os.environ, OWNER: str(owner.pid)}
        with subprocess.Popen([sys.executable, "-c", CORE], env=told, stdout=subprocess.PIPE, text=True) as core:
            assert core.stdout.readline() == "up\n"
            (owner if who == "owner" else core).kill()
            assert core.stdout.read() == "", "the worker is there, since its output is open"
            core.wait(60)
        owner.kill()
