"""The workflows of this package, and the look-up of those that a recipe names, the user's own included."""

import inspect

from counterpoint.errors import WorkflowError
from counterpoint.family import Family, table
from counterpoint.options import Spec
from counterpoint.workflows.base import Workflow, workflow

WORKFLOWS: Family[Workflow] = Family(
    "workflow",
    table(
        __name__,
        (
            "single",
            "voting",
            "evaluator_optimizer",
            "orchestrator_workers",
            "debate",
            "tie_break",
            "majority",
            "best_of",
        ),
    ),
    takes=Workflow,
)


def load_workflow(spec: Spec) -> Workflow:
    """The workflow that a recipe names, `voting` or `my_module:my_workflow`, with its options set.

    The user's own `async def` that is not decorated with `@workflow` is declared here. Raises ConfigError if
    there is no such workflow or option, WorkflowError if it is not an async function with roles.
    """
    found = WORKFLOWS.find(spec.name)
    if inspect.iscoroutinefunction(found):
        found = workflow(found)
    if not isinstance(found, Workflow):
        raise WorkflowError(
            f"workflow {spec.name!r} is a {type(found).__name__}, not a workflow: declare an `async def` with @workflow"
        )
    return found.with_options(spec.options)
