"""From episodes to gradients: the families of parts that `[algorithm]` chooses from. Each can be the user's own.

`docs/algorithms.md` says what a member of each family gets and returns; `counterpoint/presets/algorithms/` has the
combinations that papers use.
"""

from typing import Any

from counterpoint.family import Family

OVER_EPISODES = ("grpo", "dr_grpo", "rloo", "reinforce_pp")
"""Advantages that compare the episodes of a task, so all calls of an episode need the same reward."""
OVER_CALLS = ("role", "role_slot", "role_turn", "prompt", "hierarchical", "rae", "grouped")
"""Advantages that compare calls, each with a reward of its own."""


def _from(file: str, *names: str, **renamed: str) -> dict[str, str]:
    """The table of members in one file, under their own names or as they are called in a recipe."""
    return {name: f"counterpoint.algorithms.{file}:{name}" for name in names} | {
        name: f"counterpoint.algorithms.{file}:{attribute}" for name, attribute in renamed.items()
    }


CREDITS: Family[Any] = Family("credit", _from("credit", "outcome", "own", "mix", "help_hurt", "added"))
ADVANTAGES: Family[Any] = Family("advantage", _from("advantage", *OVER_EPISODES, *OVER_CALLS))
LOSSES: Family[Any] = Family("loss", _from("loss", "reinforce", "clip", "gspo", "cispo", "sapo"))
AGGREGATIONS: Family[Any] = Family("aggregation", _from("aggregation", "token", "call", "constant"))
CORRECTIONS: Family[Any] = Family("correction", _from("correction", "truncated", "sequence", none="uncorrected"))
KLS: Family[Any] = Family("kl", _from("kl", "none", "k1", "k2", "k3"))
OVERLONG: Family[Any] = Family("overlong", _from("overlong", "keep", "mask", "soft"))
