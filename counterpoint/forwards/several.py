"""Linear layers that compute each row of their inputs with the weights of the policy that the row belongs to.

Shapes: N rows, P policies, G rows of each where they have equally many, I inputs and O outputs of a layer, R the
largest rank, Q = P x R.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from counterpoint.errors import ModelError
from counterpoint.forwards.adapted import is_half

Matrices = tuple[Tensor, Tensor, float]
"""A (R, I), B (O, R) and the scale of one policy's adapter of a layer."""


class Rows:
    """Which policy each row of the inputs belongs to: the same for all layers of a model, until it is set again."""

    def __init__(self, policies: int, device: torch.device) -> None:
        self._policies = policies
        self._device = device
        self.set(np.zeros(1, np.int64))

    def set(self, members_N: np.ndarray) -> None:
        """Row n belongs to policy `members_N[n]` from here on. Waits for the device, so not within a recorded step."""
        self.lengths = np.bincount(members_N, minlength=self._policies).tolist()
        self.even = len(set(self.lengths)) == 1
        order_N = np.argsort(members_N, kind="stable")
        self._sorted = bool((order_N == np.arange(len(order_N))).all())
        self._order_N = torch.from_numpy(order_N).to(self._device)
        self._back_N = torch.from_numpy(np.argsort(order_N)).to(self._device)
        others_NP = members_N[:, None] != np.arange(self._policies)
        self.others_NP1 = torch.from_numpy(others_NP[:, :, None]).to(self._device)

    def by_policy(self, x_NI: Tensor) -> Tensor:
        """The rows, those of the first policy first. Raises ModelError if they are not those that were set."""
        self.check(x_NI)
        return x_NI if self._sorted else x_NI.index_select(0, self._order_N)

    def as_they_came(self, y_NO: Tensor) -> Tensor:
        """The inverse."""
        return y_NO if self._sorted else y_NO.index_select(0, self._back_N)

    def check(self, x_NI: Tensor) -> None:
        """Raises ModelError if there are not as many rows as were set: some layers are given only some of them."""
        if len(x_NI) != len(self.others_NP1):
            raise ModelError("a layer is given other rows than the model")


@dataclass(frozen=True, slots=True)
class OwnWeights:
    """Every policy has a weight of its own, into which its adapter is merged."""

    weights_PIO: Tensor
    rows: Rows

    def __call__(self, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        x_NI = self.rows.by_policy(x_NI)
        y_NO = self._even(x_NI) if self.rows.even else self._uneven(x_NI)
        return self.rows.as_they_came(y_NO if bias_O is None else y_NO.add_(bias_O))

    def _even(self, x_NI: Tensor) -> Tensor:
        return torch.bmm(torch.unflatten(x_NI, 0, (len(self.weights_PIO), -1)), self.weights_PIO).flatten(0, 1)

    def _uneven(self, x_NI: Tensor) -> Tensor:
        # Padded to the longest, a policy with many rows would make the others as long.
        y_NO = x_NI.new_empty(len(x_NI), self.weights_PIO.shape[2])
        x_PGI, y_PGO = (torch.split(one, self.rows.lengths) for one in (x_NI, y_NO))
        for x_GI, y_GO, weight_IO in zip(x_PGI, y_PGO, self.weights_PIO, strict=True):
            if len(x_GI):
                torch.mm(x_GI, weight_IO, out=y_GO)
        return y_NO


@dataclass(frozen=True, slots=True)
class SharedWeight:
    """All policies have the weight of the base, with their adapters beside it."""

    a_QI: Tensor
    b_QO: Tensor
    """With the scales of the policies."""
    rows: Rows

    def __call__(self, x_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
        """Rounded in half precision as by `adapted_linear`."""
        self.rows.check(x_NI)
        # One product with all adapters, of which each row keeps its own policy's: as many operations as for a single
        # policy, however many rows each has. It computes P times as much, which is little beside the base.
        between_NQ = x_NI @ self.a_QI.T
        torch.unflatten(between_NQ, 1, (self.rows.others_NP1.shape[1], -1)).masked_fill_(self.rows.others_NP1, 0.0)
        if not is_half(x_NI.dtype):
            return linear(x_NI, weight_OI, bias_O).addmm_(between_NQ, self.b_QO)
        y_NO = torch.mm(between_NQ, self.b_QO).addmm_(x_NI, weight_OI.T)
        return y_NO if bias_O is None else y_NO.add_(bias_O)


def shared_weight(adapters: Sequence[Matrices | None], like_OI: Tensor, rows: Rows) -> SharedWeight:
    """The adapters of one layer, None for a policy that does not adapt it; in the dtype of the base's weight."""
    outputs, inputs = like_OI.shape
    rank = max(len(one[0]) for one in adapters if one is not None)
    a_PRI = like_OI.new_zeros(len(adapters), rank, inputs)
    b_PRO = like_OI.new_zeros(len(adapters), rank, outputs)
    for place, one in enumerate(adapters):
        if one is not None:
            a_RI, b_OR, scale = one
            a_PRI[place, : len(a_RI)] = a_RI
            b_PRO[place, : len(a_RI)] = scale * b_OR.T.float()
    return SharedWeight(a_PRI.flatten(0, 1), b_PRO.flatten(0, 1), rows)
