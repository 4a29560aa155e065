"""The adapter that a worker of vLLM generates with, read back from where its kernels read it.

This file runs inside vLLM's worker processes, so it imports next to nothing of this package. Where it is imported by
one, the processes of the engine end with the process that started it, however that ends.

Shapes: R rank, M the largest rank that the engine has room for, I inputs and O outputs of an adapted linear layer.
"""

import hashlib
import json
import math
import os
import select
import signal
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from counterpoint.samplers._segments import OWNER, mapped_by, remove

_KEY = "base_model.model.{}.lora_{}.weight"


class Served:
    """Mixed into vLLM's worker as its `worker_extension_cls`; its method is called by name on every worker."""

    def prove_adapter(self, number: int, folder: str, scale: float) -> dict[str, str]:
        """The digest of the adapter in `folder`, once this worker's slot of adapter `number` is shown to hold it.

        The digest is that of `Adapter.digest`, of the file's tensors. The slot holds it if every tensor of the file is
        in it, cast to the slot's dtype, B multiplied with `scale`, sliced for this worker and padded with zeros, and
        if the slots of all other modules are zero. Returns {"digest": ...}, or {"fault": ...} with the first thing
        that is not so. It never raises, because an error in a worker ends its engine.
        """
        try:
            return {"digest": _proved(_manager_of(self), number, Path(folder), scale)}
        except _FaultError as fault:
            return {"fault": str(fault)}
        except Exception as error:  # such as attributes that another version of vLLM does not have
            return {"fault": f"this version of vLLM keeps its adapters in another way: {type(error).__name__}: {error}"}


class _FaultError(Exception):
    """A slot that does not hold what it must."""


def _manager_of(worker: Any) -> Any:
    return worker.model_runner.lora_manager._adapter_manager


def _proved(manager: Any, number: int, folder: Path, scale: float) -> str:
    slots = [slot for slot, held in enumerate(manager.lora_index_to_id) if held == number]
    if len(slots) != 1:
        raise _FaultError(f"adapter {number} is in {len(slots)} slots of {len(manager.lora_index_to_id)}")
    tensors = load_file(folder / "adapter_model.safetensors")
    told = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    factor = told["lora_alpha"] / told["r"]
    if not math.isclose(factor, scale, rel_tol=1e-12):
        raise _FaultError(f"its file says a scale of {factor!r}, the learner {scale!r}")
    used: set[str] = set()
    for name, module in manager.modules.items():
        used |= _compared(manager, name, module, slots[0], tensors, factor)
    unused = sorted(set(tensors) - used)
    if unused:
        raise _FaultError(f"{len(unused)} of its {len(tensors)} tensors are in no slot: {unused[0]}, ...")
    return _digest(tensors)


def _compared(manager: Any, name: str, module: Any, slot: int, tensors: dict[str, Tensor], factor: float) -> set[str]:
    """The tensors that the slot of this module holds. Raises _FaultError if it holds anything else."""
    stem, _, last = name.rpartition(".")
    pieces = manager.packed_modules_mapping.get(last) or [last]
    paths = [f"{stem}.{piece}" if stem else piece for piece in pieces]
    stacked = {"A": _as_tuple(module.lora_a_stacked), "B": _as_tuple(module.lora_b_stacked)}
    if not len(paths) == len(stacked["A"]) == len(stacked["B"]):
        raise _FaultError(f"{name} has {len(stacked['A'])} slots for {len(paths)} layers")
    keys = {side: [_KEY.format(path, side) for path in paths] for side in "AB"}
    wanted = {
        side: [_as_served(tensors.get(key), side, stacked[side][0].dtype, factor) for key in keys[side]]
        for side in "AB"
    }
    for a, b in zip(wanted["A"], wanted["B"], strict=True):
        if (a is None) != (b is None):
            raise _FaultError(f"{name}: its file has A or B alone")
    if module.tp_size > 1 and any(a is not None for a in wanted["A"]):
        wanted = _sliced(module, wanted)
    for side in "AB":
        for path, want, held in zip(paths, wanted[side], stacked[side], strict=True):
            whole = torch.zeros_like(held[slot, 0])  # (M, I) of A, (O, M) of B
            if want is not None:
                whole[: want.shape[0], : want.shape[1]] = want.to(whole.device)
            if not torch.equal(whole, held[slot, 0]):
                what = "another adapter's weights" if want is None else "something else than its file"
                raise _FaultError(f"the slot of {path} holds {what} for {side}")
    return {key for side in "AB" for key in keys[side] if key in tensors}


def _as_served(tensor: Tensor | None, side: str, dtype: torch.dtype, factor: float) -> Tensor | None:
    """As vLLM casts and scales it: once to the slot's dtype, and B in that dtype by the scale."""
    if tensor is None:
        return None
    if tensor.dtype != torch.float32:
        raise _FaultError(f"its file has tensors of {tensor.dtype}, and not of float32")
    cast = tensor.to(dtype)
    return cast * factor if side == "B" and factor != 1 else cast


def _sliced(module: Any, wanted: dict[str, list[Tensor | None]]) -> dict[str, list[Tensor | None]]:
    """This worker's part, cut by vLLM's own layer: what it cuts otherwise, the log-probabilities tell."""
    if len(wanted["A"]) > 1:
        return {"A": module.slice_lora_a(wanted["A"]), "B": module.slice_lora_b(wanted["B"])}
    return {"A": [module.slice_lora_a(wanted["A"][0])], "B": [module.slice_lora_b(wanted["B"][0])]}


def _as_tuple(stacked: Any) -> tuple[Tensor, ...]:
    return stacked if isinstance(stacked, tuple) else (stacked,)


def _digest(tensors: dict[str, Tensor]) -> str:
    sha = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        sha.update(name.encode() + b"\0" + tensor.contiguous().numpy().tobytes())
    return sha.hexdigest()


def _end_with(owner: int, parent: int) -> None:
    """Waits for the end of process `owner`, or of `parent`, the engine's core if it has one; then neither is left.

    Nor is the memory that this process shared with the core, as whatever ended them may have ended its tracker too.
    By itself vLLM's core goes on for ever when the process that it works for is killed, and a worker without its core.
    """
    has_core = parent not in (owner, 1)
    segments = mapped_by(parent) if has_core else set()
    try:
        ends = [os.pidfd_open(one) for one in {owner, parent}]
        select.select(ends, [], [])  # readable once it has ended
    except ProcessLookupError:
        pass  # it has ended already
    if has_core:
        with suppress(ProcessLookupError):
            os.kill(parent, signal.SIGKILL)
    remove(segments | mapped_by(os.getpid()))
    os.kill(os.getpid(), signal.SIGKILL)


if OWNER in os.environ:
    threading.Thread(target=_end_with, args=(int(os.environ[OWNER]), os.getppid()), daemon=True).start()
