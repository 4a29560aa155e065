"""The workflows there are, and how a recipe names one of the user's own."""

import sys
from importlib import import_module
from pathlib import Path

from counterpoint.config import Spec
from counterpoint.errors import ConfigError, WorkflowError, unknown
from counterpoint.workflows.base import Workflow
from counterpoint.workflows.best_of import best_of
from counterpoint.workflows.debate import debate
from counterpoint.workflows.evaluator_optimizer import evaluator_optimizer
from counterpoint.workflows.majority import majority
from counterpoint.workflows.orchestrator_workers import orchestrator_workers
from counterpoint.workflows.single import single
from counterpoint.workflows.voting import voting

_MEMBERS = (single, voting, evaluator_optimizer, orchestrator_workers, debate, majority, best_of)
WORKFLOWS: dict[str, Workflow] = {known.name: known for known in _MEMBERS}


def load_workflow(spec: Spec) -> Workflow:
    """The workflow that a recipe names, `voting` or `my_module:my_workflow`, with its options set.

    Modules are also looked for in the current directory. Raises ConfigError or WorkflowError.
    """
    if ":" in spec.name:
        return _user_workflow(spec.name).with_options(spec.options)
    if spec.name not in WORKFLOWS:
        raise ConfigError(unknown("workflow", spec.name, WORKFLOWS) + ", or my_module:my_workflow")
    return WORKFLOWS[spec.name].with_options(spec.options)


def _user_workflow(name: str) -> Workflow:
    module_name, _, attribute = name.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = import_module(module_name)
    except (ImportError, ValueError, TypeError) as error:
        raise ConfigError(f"workflow {name!r}: module {module_name!r} cannot be imported: {error}") from error
    found = getattr(module, attribute, None)
    if not isinstance(found, Workflow):
        there = [key for key, value in vars(module).items() if isinstance(value, Workflow)]
        raise WorkflowError(unknown(f"workflow in {module_name}:", attribute, there) + " (declare it with @workflow)")
    return found
