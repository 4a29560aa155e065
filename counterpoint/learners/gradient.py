"""A gradient as one flat vector."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from counterpoint.errors import LearnerError
from counterpoint.learners.base import Gradient

_PIECE = 2**20
"""Values that are widened to float64 at once: over millions of them a float32 sum is off in the fourth digit."""


@dataclass(frozen=True, slots=True, eq=False)
class FlatGradient:
    """The gradient over a policy's parameters, laid end to end (float32)."""

    flat: Tensor

    def dot(self, other: "FlatGradient") -> float:
        theirs = other.flat.to(self.flat.device)
        pieces = zip(torch.split(self.flat, _PIECE), torch.split(theirs, _PIECE), strict=True)
        return sum(float(torch.dot(one.double(), two.double())) for one, two in pieces)

    def norm(self) -> float:
        return float(torch.linalg.vector_norm(self.flat, dtype=torch.float64))

    def scaled(self, factor: float) -> "FlatGradient":
        return FlatGradient(self.flat * factor)

    def plus(self, other: "FlatGradient") -> "FlatGradient":
        return FlatGradient(self.flat + other.flat.to(self.flat.device))

    def split(self, like: Sequence[Tensor]) -> list[Tensor]:
        """Its pieces, in the shapes of `like`."""
        pieces = torch.split(self.flat, [tensor.numel() for tensor in like])
        return [piece.view_as(tensor) for piece, tensor in zip(pieces, like, strict=True)]


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def save_gradients(path: Path, gradients: Mapping[str, Gradient]) -> None:
    """`path` holds the gradients by name. Raises LearnerError if one of them is not of this kind."""
    strange = [name for name, gradient in gradients.items() if not isinstance(gradient, FlatGradient)]
    if strange:
        raise LearnerError(f"the gradient of {strange[0]} cannot be saved: it is not a FlatGradient")
    flat = {name: one.flat.cpu() for name, one in gradients.items() if isinstance(one, FlatGradient)}
    save_file(flat, path, metadata={"format": "pt"})


def load_gradients(path: Path) -> dict[str, FlatGradient]:
    """The gradients that `save_gradients` wrote, in memory of the CPU."""
    return {name: FlatGradient(flat) for name, flat in load_file(path).items()}
