"""Train multi-agent LLM workflows end to end with reinforcement learning, and see, role by role, why it works.

    import counterpoint as cp

    run = cp.train("voting_arithmetic", "policies.sharing=shared", out="runs/mine")
    run.summary.team.gain
    cp.evaluate(run, samples=4).frame()

Every public name is listed here and imported when it is first used, so that `import counterpoint` loads no engine.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from counterpoint.analysis.signatures.base import Finding, Signature
    from counterpoint.analysis.summary import Summary
    from counterpoint.api import diagnose, dry_run, evaluate, list_runs, open_stage, resume, rollout, train
    from counterpoint.config import Config
    from counterpoint.controlled import Evaluations
    from counterpoint.diagnostics.base import Diagnostic, Step
    from counterpoint.episode import Episode, Group
    from counterpoint.errors import CounterpointError
    from counterpoint.experiments.advice import Advice
    from counterpoint.experiments.advise import advise
    from counterpoint.experiments.compared import Compared
    from counterpoint.experiments.front import compare, study
    from counterpoint.interventions.base import Intervention, Stop, Update
    from counterpoint.recipe import load_config
    from counterpoint.reports.front import report
    from counterpoint.run import Run
    from counterpoint.task import Problem, Score, Task
    from counterpoint.tasks.base import Splits, task_of
    from counterpoint.testing.workflow_conformance import check_workflow
    from counterpoint.trackers.base import About, Tracked, Tracker
    from counterpoint.workflows.base import Part, Reply, Role, Roles, user, workflow

__version__ = "0.2.0"

_HOMES = {
    "counterpoint.analysis.signatures.base": ("Finding", "Signature"),
    "counterpoint.analysis.summary": ("Summary",),
    "counterpoint.api": (
        "diagnose",
        "dry_run",
        "evaluate",
        "list_runs",
        "open_stage",
        "resume",
        "rollout",
        "train",
    ),
    "counterpoint.config": ("Config",),
    "counterpoint.controlled": ("Evaluations",),
    "counterpoint.diagnostics.base": ("Diagnostic", "Step"),
    "counterpoint.episode": ("Episode", "Group"),
    "counterpoint.errors": ("CounterpointError",),
    "counterpoint.experiments.compared": ("Compared",),
    "counterpoint.experiments.front": ("compare", "study"),
    "counterpoint.experiments.advice": ("Advice",),
    "counterpoint.experiments.advise": ("advise",),
    "counterpoint.interventions.base": ("Intervention", "Stop", "Update"),
    "counterpoint.recipe": ("load_config",),
    "counterpoint.reports.front": ("report",),
    "counterpoint.run": ("Run",),
    "counterpoint.task": ("Problem", "Score", "Task"),
    "counterpoint.tasks.base": ("Splits", "task_of"),
    "counterpoint.testing.workflow_conformance": ("check_workflow",),
    "counterpoint.trackers.base": ("About", "Tracked", "Tracker"),
    "counterpoint.workflows.base": ("Part", "Reply", "Role", "Roles", "user", "workflow"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "About",
    "Advice",
    "Compared",
    "Config",
    "CounterpointError",
    "Diagnostic",
    "Episode",
    "Evaluations",
    "Finding",
    "Group",
    "Intervention",
    "Part",
    "Problem",
    "Reply",
    "Role",
    "Roles",
    "Run",
    "Score",
    "Signature",
    "Splits",
    "Step",
    "Stop",
    "Summary",
    "Task",
    "Tracked",
    "Tracker",
    "Update",
    "advise",
    "check_workflow",
    "compare",
    "diagnose",
    "dry_run",
    "evaluate",
    "list_runs",
    "load_config",
    "open_stage",
    "report",
    "resume",
    "rollout",
    "study",
    "task_of",
    "train",
    "user",
    "workflow",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
