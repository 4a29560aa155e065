"""A gradient as one flat vector."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class FlatGradient:
    """The gradient over a policy's parameters, laid end to end (float32)."""

    flat: Tensor

    def dot(self, other: "FlatGradient") -> float:
        return float(torch.dot(self.flat, other.flat))

    def norm(self) -> float:
        return float(torch.linalg.vector_norm(self.flat))

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
