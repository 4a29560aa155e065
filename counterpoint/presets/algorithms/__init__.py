"""Named algorithms: each the parts of `[algorithm]` as its paper has them, in a file that says why.

A member is a function without arguments that returns keys of `[algorithm]`; so is your own, `module:name`.
"""

from typing import Any

from counterpoint.family import Family, table

ALGORITHMS: Family[dict[str, Any]] = Family(
    "algorithm",
    table(
        "counterpoint.presets.algorithms",
        [
            "grpo",
            "dapo",
            "dr_grpo",
            "rloo",
            "reinforce_pp",
            "gspo",
            "cispo",
            "sapo",
            "dr_mas",
            "at_grpo",
            "spiral",
            "study",
        ],
    ),
)
