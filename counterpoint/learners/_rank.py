"""One rank of a learner in a process of its own: the methods that `placed.Placed` asks for.

Gradients stay there under numbers, which are the same on every rank, since all ranks are asked the same in the same
order. Arguments and results can be pickled.
"""

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, ParamSpec, Protocol, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from counterpoint.adapter import Adapter
from counterpoint.algorithms.base import Sample
from counterpoint.algorithms.loss import Loss
from counterpoint.episode import Call
from counterpoint.errors import LearnerError
from counterpoint.learners._split import ApartError, Ranks, Split
from counterpoint.learners.base import Contribution, Gradient, Learner, Moved, Source
from counterpoint.learners.gradient import FlatGradient

P = ParamSpec("P")
T = TypeVar("T")


class Alike(Learner, Protocol):
    """A learner that computes with a split, as `peft.Peft`."""

    @property
    def device(self) -> torch.device:
        """The device of its gradients."""
        ...

    def digests(self, policies: Sequence[str] | None = None) -> dict[str, str]:
        """The digests of the weights of `policies`, of all if none are named."""
        ...

    def fingerprints(self) -> dict[str, tuple[int, int]]:
        """Policy -> the fingerprint of its weights, and that of the state of its optimizer."""
        ...


class Kept(NamedTuple):
    """A contribution whose gradients stayed on the ranks; for each its number."""

    gradient: int
    weight: float
    loss: float
    facts: dict[str, float]
    slots: dict[int, int]


class Refused(NamedTuple):
    """The answer of every rank to what the learner refuses alike on all of them, by a LearnerError."""

    reason: str


def join(rank: int, count: int, address: str, timeout: float, device: str) -> Ranks:
    """This process is rank `rank` of `count`; returned once all of them have joined.

    `address` (host:port) is a free port on the machine of rank 0. A collective that takes longer than `timeout` seconds
    fails, and so does joining. Raises ApartError if the others do not join in time.
    """
    # Objects go through gloo in any case: NCCL moves nothing but tensors on GPUs.
    backend = "cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo"
    try:
        dist.init_process_group(
            backend,
            init_method=f"tcp://{address}",
            rank=rank,
            world_size=count,
            timeout=timedelta(seconds=timeout),
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ApartError(f"rank {rank} of {count} did not find the others at {address}: {reason}") from error
    return Ranks()


def leave() -> None:
    """This process is no rank any more. Does nothing if it was none."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _answered(method: Callable[P, T]) -> Callable[P, T | Refused]:
    """The method, which answers Refused in place of raising what every rank raises alike."""

    @functools.wraps(method)
    def answered(*args: P.args, **options: P.kwargs) -> T | Refused:
        try:
            return method(*args, **options)
        except ApartError:
            raise
        except LearnerError as error:
            return Refused(str(error))

    return answered


class Rank:
    """A learner that every rank of a group has. All ranks must be asked the same, except where a method is for one."""

    def __init__(self, learner: Alike, split: Split) -> None:
        """`learner` computes with `split`. Raises ApartError if the learners of the ranks are not in the same state."""
        self._learner = learner
        self._split = split
        self._kept: dict[int, Gradient] = {}
        self._last = 0
        self._digests: dict[str, tuple[int, str]] = {}
        self._agree()

    @_answered
    def backward(self, samples: Sequence[Sample], loss: Loss, slots_apart: bool) -> dict[Source, Kept]:
        found = self._learner.backward(samples, loss, slots_apart=slots_apart)
        kept = {
            source: Kept(
                gradient=self._keep(one.gradient),
                weight=one.weight,
                loss=one.loss,
                facts=dict(one.facts),
                slots={slot: self._keep(gradient) for slot, gradient in one.slots.items()},
            )
            for source, one in found.items()
        }
        # As text, in which a number that is not one is like itself.
        self._split.agreed(repr(kept).encode())
        return kept

    @_answered
    def step(self, gradients: Mapping[Source, int], rates: Mapping[str, float], step: int) -> dict[str, Moved]:
        """As `Learner.step`. Raises ApartError if weights or optimizers then differ between the ranks in any bit."""
        contributions = {source: Contribution(self._kept[number], 0.0, 0.0) for source, number in gradients.items()}
        moved = self._learner.step(contributions, rates, step=step)
        self._agree()
        return moved

    @_answered
    def logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        return self._told(self._learner.logprobs(calls))

    @_answered
    def logprobs_with(self, adapter: Adapter, calls: Sequence[Call]) -> list[list[float]]:
        return self._told(self._learner.logprobs_with(adapter, calls))

    @_answered
    def base_logprobs(self, calls: Sequence[Call]) -> list[list[float]]:
        return self._told(self._learner.base_logprobs(calls))

    def digests(self) -> dict[str, str]:
        """The digests of the weights, on rank 0; raises ApartError if the ranks have not the same weights.

        A digest is taken again only when the fingerprint of the weights has changed: it costs seconds for a large
        adapter, and training asks several times per step.
        """
        found = self._agree()
        if self._split.rank:
            return {}
        changed = [name for name, one in found.items() if self._digests.get(name, (None, ""))[0] != one]
        digests = self._learner.digests(changed) if changed else {}
        self._digests |= {name: (found[name], digest) for name, digest in digests.items()}
        return {name: self._digests[name][1] for name in found}

    def adapters(self) -> list[Adapter]:
        """Copies on the CPU. For one rank alone: nothing is computed together."""
        return [
            Adapter(
                policy=one.policy,
                version=one.version,
                scale=one.scale,
                tensors={name: tensor.cpu() for name, tensor in one.tensors.items()},
                settings=one.settings,
            )
            for one in self._learner.adapters()
        ]

    def saved(self) -> dict[str, bytes]:
        """The files of a checkpoint, by their path within its folder. For one rank alone.

        As bytes, since the folder of a run may be on another machine.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self._learner.save(folder)
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    @_answered
    def load(self, place: str, files: Mapping[str, bytes]) -> None:
        """The learner is as it was when `files` were `saved`, on however many ranks; errors name `place`."""
        with tempfile.TemporaryDirectory() as name:
            for path, content in files.items():
                target = Path(name) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            try:
                self._learner.load(Path(name))
            except LearnerError as error:
                raise LearnerError(str(error).replace(name, place)) from error
        self._agree()

    def policies(self) -> list[str]:
        return list(self._learner.fingerprints())

    def scaled(self, number: int, factor: float) -> int:
        return self._keep(self._kept[number].scaled(factor))

    def plus(self, number: int, other: int) -> int:
        return self._keep(self._kept[number].plus(self._kept[other]))

    def keep(self, flat: Tensor) -> int:
        """The number of a gradient from elsewhere, given to every rank."""
        return self._keep(FlatGradient(flat.to(self._learner.device)))

    def drop(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            del self._kept[number]

    def dot(self, number: int, other: int) -> float:
        """The inner product, for one rank alone."""
        return self._kept[number].dot(self._kept[other])

    def norm(self, number: int) -> float:
        """The norm, for one rank alone."""
        return self._kept[number].norm()

    def vector(self, number: int) -> Tensor:
        """The values on the CPU, for one rank alone."""
        found: Tensor = self._kept[number].vector().cpu()
        return found

    def kept(self) -> list[int]:
        """The numbers of the gradients that are here. For one rank alone."""
        return list(self._kept)

    def _keep(self, gradient: Gradient) -> int:
        self._last += 1
        self._kept[self._last] = gradient
        return self._last

    def _told(self, rows: list[list[float]]) -> list[list[float]]:
        """The rows from rank 0, nothing from the others, which have the same."""
        return [] if self._split.rank else rows

    def _agree(self) -> dict[str, int]:
        """The fingerprint of every policy's weights. Raises ApartError if weights or optimizers are not the same."""
        found = self._learner.fingerprints()
        self._split.agreed(repr(found).encode())
        return {policy: weights for policy, (weights, _) in found.items()}
