"""The state of the calls that are being generated, row by row.

Shapes: A active calls, T tokens of the longest completion and one more, V vocabulary, S stop tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from counterpoint.samplers._picking import picked, uniforms
from counterpoint.samplers.base import Request


class Said(NamedTuple):
    """A completion's tokens and their log-probabilities in nats."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Seats:
    """The calls that are being generated. `say` writes into these tensors, which can be recorded and replayed."""

    calls: tuple[int, ...]
    """Which request each row belongs to."""
    stops_S: Tensor
    last_A: Tensor
    """The last token of each call, at first that of its prompt."""
    going_A: Tensor
    """True until a call has ended. Its row is computed on until it is dropped, and nothing of it is kept."""
    counts_A1: Tensor
    """Tokens of each completion so far."""
    limits_A1: Tensor
    temperatures_A: Tensor
    plain: bool
    """True if all temperatures are 1."""
    uniforms_AT: Tensor
    ids_AT: Tensor
    """Behind its completion a row has any values: what follows the end is written there."""
    logprobs_AT: Tensor

    @classmethod
    def of(cls, calls: Sequence[int], requests: Sequence[Request], width: int, stops_S: Tensor) -> "Seats":
        """Seats for `requests[call]` of each call, whose completions have at most `width` tokens."""
        mine, device = [requests[call] for call in calls], stops_S.device
        temperatures = [one.temperature for one in mine]
        return cls(
            calls=tuple(calls),
            stops_S=stops_S,
            last_A=torch.tensor([one.prompt_ids[-1] for one in mine], device=device),
            going_A=torch.ones(len(mine), dtype=torch.bool, device=device),
            counts_A1=torch.zeros(len(mine), 1, dtype=torch.long, device=device),
            limits_A1=torch.tensor([[one.max_tokens] for one in mine], device=device),
            temperatures_A=torch.tensor(temperatures, device=device),
            plain=all(one == 1.0 for one in temperatures),
            uniforms_AT=torch.from_numpy(uniforms(mine, width + 1)).to(device),
            ids_AT=torch.zeros(len(mine), width + 1, dtype=torch.long, device=device),
            logprobs_AT=torch.zeros(len(mine), width + 1, device=device),
        )

    def say(self, logits_AV: Tensor) -> None:
        """Every call has a token more, picked by its logits, which may be overwritten."""
        at_A1 = self.counts_A1
        temperatures_A = None if self.plain else self.temperatures_A
        ids_A, logprobs_A = picked(logits_AV, temperatures_A, self.uniforms_AT.gather(1, at_A1)[:, 0])
        self.ids_AT.scatter_(1, at_A1, ids_A[:, None])
        self.logprobs_AT.scatter_(1, at_A1, logprobs_A[:, None])
        at_A1 += self.going_A[:, None]
        ended_A = (ids_A[:, None] == self.stops_S).any(dim=1) | (at_A1 >= self.limits_A1)[:, 0]
        self.going_A.logical_and_(~ended_A)
        self.last_A.copy_(ids_A)

    def most_left(self) -> int:
        """The most tokens that any call may still have."""
        return int(((self.limits_A1 - self.counts_A1)[:, 0] * self.going_A).max())

    def ended(self) -> dict[int, Said]:
        """The completions that have ended, by call."""
        over = (~self.going_A).nonzero()[:, 0]
        counts = self.counts_A1[over, 0].tolist()
        width = max(counts, default=0)
        ids, logprobs = self.ids_AT[over, :width].tolist(), self.logprobs_AT[over, :width].tolist()
        rows = zip(over.tolist(), counts, ids, logprobs, strict=True)
        return {self.calls[row]: Said(tuple(one[:count]), tuple(other[:count])) for row, count, one, other in rows}

    def taken(self, rows: Tensor) -> "Seats":
        """Those of some rows."""
        tensors = {name: getattr(self, name).index_select(0, rows) for name in _BY_ROW}
        return replace(self, calls=tuple(self.calls[row] for row in rows.tolist()), **tensors)

    def beside(self, others: "Seats") -> "Seats":
        """These, then the others."""
        tensors = {name: torch.cat([getattr(self, name), getattr(others, name)]) for name in _BY_ROW}
        return replace(self, calls=self.calls + others.calls, plain=self.plain and others.plain, **tensors)


_BY_ROW = ("last_A", "going_A", "counts_A1", "limits_A1", "temperatures_A", "uniforms_AT", "ids_AT", "logprobs_AT")
