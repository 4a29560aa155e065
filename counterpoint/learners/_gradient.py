"""A gradient as one flat vector."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

_PIECE = 2**20
"""Values that are widened to float64 at once: over millions of them a float32 sum is off in the fourth digit."""


@dataclass(frozen=True, slots=True, eq=False)
class FlatGradient:
    """The gradient over a policy's parameters, laid end to end (float32)."""

    flat: Tensor

    def dot(self, other: "FlatGradient") -> float:
        pieces = zip(torch.split(self.flat, _PIECE), torch.split(other.flat, _PIECE), strict=True)
        return sum(float(torch.dot(mine.double(), theirs.double())) for mine, theirs in pieces)

    def norm(self) -> float:
        return float(torch.linalg.vector_norm(self.flat, dtype=torch.float64))

    def scaled(self, factor: float) -> "FlatGradient":
        return FlatGradient(self.flat * factor)

    def plus(self, other: "FlatGradient") -> "FlatGradient":
        return FlatGradient(self.flat + other.flat)

    def split(self, like: Sequence[Tensor]) -> list[Tensor]:
        """Its pieces, in the shapes of `like`."""
        pieces = torch.split(self.flat, [tensor.numel() for tensor in like])
        return [piece.view_as(tensor) for piece, tensor in zip(pieces, like, strict=True)]


def flatten(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
