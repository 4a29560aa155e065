"""A gradient as one flat vector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from counterpoint.learners.base import Gradient

Parameters = Mapping[str, torch.nn.Parameter]
"""Name as in a PEFT file -> float32 parameter."""
_PIECE = 2**20
"""The number of values that are widened to float64 at once. A float32 sum of millions is off in the fourth digit."""


@dataclass(frozen=True, slots=True, eq=False)
class FlatGradient:
    """The gradient over a policy's parameters, laid end to end (float32)."""

    flat: Tensor

    def dot(self, other: Gradient) -> float:
        theirs = other.vector().to(self.flat.device)
        pieces = zip(torch.split(self.flat, _PIECE), torch.split(theirs, _PIECE), strict=True)
        return sum(float(torch.dot(one.double(), two.double())) for one, two in pieces)

    def norm(self) -> float:
        return float(torch.linalg.vector_norm(self.flat, dtype=torch.float64))

    def scaled(self, factor: float) -> "FlatGradient":
        return FlatGradient(self.flat * factor)

    def plus(self, other: Gradient) -> "FlatGradient":
        return FlatGradient(self.flat + other.vector().to(self.flat.device))

    def vector(self) -> Tensor:
        return self.flat

    def split(self, like: Sequence[Tensor]) -> list[Tensor]:
        """Its pieces, in the shapes of `like`, one after the other."""
        pieces = torch.split(self.flat, [tensor.numel() for tensor in like])
        return [piece.view_as(tensor) for piece, tensor in zip(pieces, like, strict=True)]


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    """The values of all tensors as one vector."""
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def save_gradients(path: Path, gradients: Mapping[str, Gradient]) -> None:
    """`path` (safetensors) holds the gradients by name."""
    save_file({name: one.vector().cpu() for name, one in gradients.items()}, path, metadata={"format": "pt"})


def load_gradients(path: Path) -> dict[str, FlatGradient]:
    """The gradients that `save_gradients` wrote, on the CPU."""
    return {name: FlatGradient(flat) for name, flat in load_file(path).items()}
