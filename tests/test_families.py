"""What every family promises: every name resolves, a wrong one gets the nearest, the user's own members are found."""

import inspect
import textwrap

import pytest

from counterpoint import family
from counterpoint.algorithms import ADVANTAGES, AGGREGATIONS, CORRECTIONS, CREDITS, KLS, LOSSES, OVERLONG
from counterpoint.analysis.signatures import SIGNATURES
from counterpoint.diagnostics import DIAGNOSTICS
from counterpoint.errors import ConfigError
from counterpoint.interventions import INTERVENTIONS
from counterpoint.judges import JUDGES
from counterpoint.options import Spec, check_options
from counterpoint.presets.algorithms import ALGORITHMS
from counterpoint.runtimes import RUNTIMES
from counterpoint.samplers import SAMPLERS
from counterpoint.sandboxes import SANDBOXES
from counterpoint.tasks import TASKS
from counterpoint.trackers import TRACKERS
from counterpoint.workflows import WORKFLOWS

PARTS = (ADVANTAGES, AGGREGATIONS, CORRECTIONS, CREDITS, KLS, LOSSES, OVERLONG)
FAMILIES = (
    ALGORITHMS,
    DIAGNOSTICS,
    INTERVENTIONS,
    JUDGES,
    RUNTIMES,
    SAMPLERS,
    SANDBOXES,
    SIGNATURES,
    TASKS,
    TRACKERS,
    WORKFLOWS,
    *PARTS,
)
MEMBERS = [(one, name) for one in FAMILIES for name in one]


@pytest.mark.parametrize(("members", "name"), MEMBERS, ids=[f"{one.kind}-{name}" for one, name in MEMBERS])
def test_every_name_of_every_table_resolves_to_a_member_that_explains_itself(members, name):
    member = members.find(name)
    if members is SIGNATURES:
        assert member.name == name
        assert member.meaning
        assert member.advice
        return
    assert callable(member)
    assert inspect.getdoc(member)
    check_options(name, member, {}, only=[])


@pytest.mark.parametrize("members", FAMILIES, ids=lambda one: one.kind)
def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(members):
    name = sorted(members)[0]
    message = rf"unknown {members.kind} '{name}x'; did you mean '{name}'\?.* or my_module:my_{members.kind}"
    with pytest.raises(ConfigError, match=message):
        members.find(f"{name}x")


@pytest.mark.parametrize("members", FAMILIES, ids=lambda one: one.kind)
def test_a_member_of_the_users_own_is_found_and_its_options_are_checked(members, tmp_path):
    (tmp_path / f"own_{members.kind}.py").write_text(
        textwrap.dedent("""\
            def made(*, count: int = 3):
                return ["made", count]
        """)
    )
    family.look_in(tmp_path)
    try:
        name = f"own_{members.kind}:made"
        assert members.build(Spec(name=name, count=5)) == ["made", 5]
        with pytest.raises(ConfigError, match=r"'coumt'; did you mean 'count'\?"):
            members.build(Spec(name=name, coumt=5))
        with pytest.raises(ConfigError, match=rf"unknown name in own_{members.kind} 'mad'; did you mean 'made'\?"):
            members.find(f"own_{members.kind}:mad")
    finally:
        family._folders.remove(str(tmp_path.resolve()))
