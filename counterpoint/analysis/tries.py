"""Tries at problems: how many were right, and what that says about a problem."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from counterpoint.analysis.passes import Attempts

Kind = Literal["never", "sometimes", "always"]
KINDS: tuple[Kind, ...] = ("never", "sometimes", "always")
"""The classes of problems by how often the base solves them, in the tries by which problems are sorted."""
BEFORE = "before training"
SORTING = "before training, to sort the tasks"
"""The evaluations of the base: in as many tries as the trained policies, and in those by which problems are sorted."""
TRIES = 64
"""The tries by which a problem is sorted, unless another number is asked for."""
MOST = 8
"""The k of pass@k, where there are as many tries."""


class Tries(NamedTuple):
    """The tries at one problem."""

    right: int
    tries: int


Tried = Mapping[str, Tries]
"""Problem -> the tries at it."""


def tried(attempts: Attempts) -> dict[str, Tries]:
    """Problem -> how many of its attempts are right, and how many there are."""
    return {problem: Tries(sum(one.right for one in made), len(made)) for problem, made in attempts.items()}


def kind_of(found: Tries) -> Kind:
    """The kind of a problem that was solved in none of its tries, in some, or in all. Raises ValueError."""
    if found.tries < 1 or not 0 <= found.right <= found.tries:
        raise ValueError(f"{found.right} of {found.tries} tries cannot be right")
    return "never" if found.right == 0 else "always" if found.right == found.tries else "sometimes"


def still_possible(tries: int) -> float:
    """The largest probability per try with which a problem is never solved in 1 of 20 cases: 1 - 0.05^(1/n).

    It is the exact upper bound at 95 % (Clopper and Pearson 1934), about 3 / n: 4.6 % after 64 tries.
    """
    return float(1.0 - 0.05 ** (1.0 / tries))
