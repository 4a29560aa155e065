"""The base of a run: what decides how its policies play the test tasks before they are trained."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from counterpoint.config import Config
from counterpoint.experiments.cells import Cell
from counterpoint.experiments.resolved import in_its_folder
from counterpoint.pins import own_names
from counterpoint.policy import routing
from counterpoint.recipe import find_recipe
from counterpoint.workflows import load_workflow

_PARTS = ("workflow", "task", "sandbox", "judge")
_LIMITS = ("max_tokens", "max_prompt_tokens", "long_prompts", "max_calls", "timeout", "judge_timeout")
_NOT_WHAT_IT_SAYS = {"device", "forward", "date"}
"""Keys of a model that say where, how and when it is computed."""


def base_digest(config: Config, routes: Mapping[str, str | Sequence[str]], sources: Mapping[str, str]) -> str:
    """Equal for recipes whose untrained policies play the test tasks alike, up to chance.

    These have the same workflow, tasks, judge, limits and temperature, and the same model in every role; sharing,
    learning rate, algorithm and seed do not matter. `routes` maps roles to their policies, `sources` the user's own
    modules to digests of them. Nothing that the recipe names is executed.
    """
    parts = {
        **{name: getattr(config, name).model_dump() for name in _PARTS},
        "limits": {key: getattr(config.rollout, key) for key in _LIMITS},
        "temperature": config.evaluation.temperature,
        "speakers": {role: _speakers(config, found) for role, found in routes.items()},
        "sources": dict(sources),
    }
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def base_of(cell: Cell, config: Config) -> str:
    """Equal for cells of a study with the same base; modules of another folder are others."""
    where = str(find_recipe(cell.recipe).parent.resolve()) if own_names(config) else ""
    with in_its_folder(cell):
        routes = routing(config.policies.sharing, load_workflow(config.workflow).slots)
    return f"{base_digest(config, routes.policy_of, {})} {where}"


def _speakers(config: Config, found: str | Sequence[str]) -> list[dict[str, Any]]:
    """The speakers in each slot of a role; one entry if it is the same in all."""
    told = [_speaker(config, policy) for policy in ([found] if isinstance(found, str) else found)]
    return told[:1] if all(one == told[0] for one in told) else told


def _speaker(config: Config, policy: str) -> dict[str, Any]:
    """The model of a policy and the adapter from which it starts, or its endpoint."""
    own = config.policy_settings(policy)
    start = {key: getattr(own, key) for key in ("adapter", "rank", "alpha")} if own.adapter else {}
    # without defaults: a key that a later version adds must not make another base of that of earlier seeds
    endpoint = None if own.endpoint is None else own.endpoint.model_dump(exclude_defaults=True)
    model = own.model.model_dump(exclude=_NOT_WHAT_IT_SAYS, exclude_defaults=True)
    return {"model": model, "start": start, "endpoint": endpoint}
