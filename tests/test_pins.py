"""A run pins its experiment: the user's modules and its recipe; a change is refused, or accepted and recorded."""

import logging
import sys

import pytest

from counterpoint import family
from counterpoint.errors import ConfigError, RunError
from counterpoint.family import name_of
from counterpoint.pins import bound, check_unchanged, executed, own_names, sources
from counterpoint.recipe import config_from
from counterpoint.run import Run
from counterpoint.starting import begin, reopen
from counterpoint.workflows import WORKFLOWS, load_workflow

TEAM = """
import pinned_helper
from counterpoint import Problem, Role, workflow


@workflow
async def solve(problem: Problem, *, solver: Role) -> str | None:
    reply = await solver(pinned_helper.ask(problem))
    return reply.answers(problem.extract(reply.text))


def text():
    from pinned_package import late
    from pinned_space.part import WORD as word  # a folder without __init__.py

    assert word == "part"
    return f"{WORD} {pinned_helper.WORD} {late.WORD}"


WORD = "team"
"""
HELPER = "WORD = 'helper'\n\n\ndef ask(problem):\n    return problem.text\n"
FILES = {
    "pinned_team.py": TEAM,
    "pinned_helper.py": HELPER,
    "pinned_package/__init__.py": "",
    "pinned_package/late.py": "from . import deep\n\nWORD = deep.WORD\n",
    "pinned_package/deep.py": "WORD = 'deep'\n",
    "pinned_space/part.py": "WORD = 'part'\n",
    "pinned_unused.py": "",
}
CONFIG = config_from({"workflow": "pinned_team:solve", "run": {"steps": 4}})


@pytest.fixture(autouse=True)
def _modules_of_its_own():
    yield
    for name in [name for name in sys.modules if name.startswith("pinned_")]:
        del sys.modules[name]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A function that writes the modules into a folder, some of them changed, and goes there."""

    def written(folder="here", **changed):
        place = tmp_path / folder
        for name, text in FILES.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(changed.get(name.partition(".")[0], text))
        monkeypatch.chdir(place)
        return place

    return written


def text_of(config):
    """What the module of the workflow says, and the modules that it imports."""
    place, module, _ = family.parts_of(config.workflow.name)
    return WORKFLOWS.find(f"{place}/{module}:text" if place else f"{module}:text")()


def started(path):
    with begin(CONFIG, path, "mine.toml", []) as run:
        return run


def test_a_new_run_has_copies_of_the_users_modules_and_of_what_they_import(write, tmp_path):
    place = write()
    run = started(tmp_path / "run")
    copies = {str(file.relative_to(run.path / "sources")) for file in (run.path / "sources").rglob("*.py")}
    assert copies == set(FILES) - {"pinned_unused.py"}
    assert (run.path / "sources" / "pinned_team.py").read_text() == TEAM
    entry = run.facts["sources"]["pinned_package.deep"]
    assert (entry["file"], entry["copy"]) == (str(place / "pinned_package/deep.py"), "pinned_package/deep.py")
    assert "changes" not in run.facts


def test_a_run_without_members_of_ones_own_has_no_copies(tmp_path):
    with begin(config_from({}), tmp_path / "run", "r", []) as run:
        assert not (run.path / "sources").exists()
        assert "sources" not in run.facts
        assert bound(run) == run.config


def test_a_run_is_executed_from_its_originals_while_they_are_unchanged_and_from_its_copies_else(
    write, tmp_path, monkeypatch, caplog
):
    place = write()
    run = started(tmp_path / "run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert executed(run).workflow.name == f"{place}/pinned_team:solve"
    assert load_workflow(executed(run).workflow).roles == ("solver",)
    assert caplog.text == ""
    (place / "pinned_helper.py").write_text(HELPER.replace("'helper'", "'new'"))
    with caplog.at_level(logging.WARNING):
        assert text_of(executed(run)) == "team helper deep"
    assert f"code of {run.path}/sources is executed: pinned_helper.py" in caplog.text
    assert f"{place}/pinned_helper.py has changed" in caplog.text
    (place / "pinned_team.py").unlink()
    assert text_of(bound(run)) == "team helper deep"
    (run.path / "sources" / "pinned_team.py").write_text(TEAM + "\n")
    with pytest.raises(RunError, match=r"sources/pinned_team\.py has changed since the run was trained with it"):
        executed(run)


def test_runs_whose_modules_have_the_same_names_are_executed_each_from_its_own(write, tmp_path):
    """As in a comparison of two runs, or in a notebook that changes its modules between runs."""
    write("one")
    one = started(tmp_path / "first")
    write("two", pinned_team=TEAM.replace('"team"', '"other"'), pinned_helper=HELPER.replace("'helper'", "'aid'"))
    other = started(tmp_path / "second")
    for _ in range(2):
        assert text_of(bound(one)) == "team helper deep"
        assert text_of(bound(other)) == "other aid deep"
        assert text_of(CONFIG) == "other aid deep", "a name alone is that of the current directory"
    write("two", pinned_helper=HELPER.replace("'helper'", "'third'"))
    assert text_of(CONFIG) == "team third deep", "a module that is imported was changed"
    assert text_of(bound(other)) == "other aid deep"
    assert text_of(bound(one)) == "team helper deep"


def test_a_mixture_of_two_runs_takes_each_member_from_its_own(write, tmp_path):
    write("one")
    one = started(tmp_path / "first")
    write("two", pinned_team=TEAM.replace('"team"', '"other"'))
    other = started(tmp_path / "second")
    first, second = bound(one), bound(other)
    mixed = config_from({**first.model_dump(exclude_none=True), "signatures": [second.workflow.model_dump()]})
    assert own_names(mixed) == [first.workflow.name, second.workflow.name]
    assert [WORKFLOWS.find(name.replace("solve", "WORD")) for name in own_names(mixed)] == ["team", "other"]


def test_an_object_of_an_imported_module_keeps_its_name_after_another_run_was_executed(write, tmp_path):
    place = write()
    run = started(tmp_path / "run")
    solve = WORKFLOWS.find("pinned_team:solve")
    (place / "pinned_helper.py").write_text(HELPER + "\n")
    assert WORKFLOWS.find(bound(run).workflow.name) is not solve
    (place / "pinned_helper.py").write_text(HELPER)
    assert name_of(solve, "workflow") == "pinned_team:solve"
    assert WORKFLOWS.find("pinned_team:solve") is solve


def test_a_changed_source_is_refused_unless_it_is_accepted_and_then_recorded_and_kept(write, tmp_path):
    place = write()
    run = started(tmp_path / "run")
    check_unchanged(run, accept=False, step=0)
    before = run.facts
    (place / "pinned_helper.py").write_text("import pinned_unused\n" + HELPER)
    with pytest.raises(RunError, match=r"pinned_helper.py has changed since .*run was trained with it: undo") as raised:
        check_unchanged(run, accept=False, step=2)
    assert "\n" not in str(raised.value)
    assert "--accept-changes" in str(raised.value)
    assert run.facts == before
    check_unchanged(run, accept=True, step=2)
    (change,) = run.facts["changes"]
    was, now = before["sources"]["pinned_helper"]["sha256"], run.facts["sources"]["pinned_helper"]["sha256"]
    assert change == {"step": 2, "what": "pinned_helper", "before": was, "after": now}
    copies = run.path / "sources"
    assert (copies / "before-000002" / "pinned_helper.py").read_text() == HELPER
    assert (copies / "pinned_helper.py").read_text() == "import pinned_unused\n" + HELPER
    assert (copies / "pinned_unused.py").is_file(), "what the new source imports is copied too"
    check_unchanged(run, accept=False, step=3)
    assert len(run.facts["changes"]) == 1


def test_a_source_that_is_gone_is_no_change(write, tmp_path):
    place = write()
    run = started(tmp_path / "run")
    (place / "pinned_team.py").unlink()
    check_unchanged(run, accept=False, step=0)


def test_a_recipe_edited_by_hand_is_refused_unless_it_is_accepted_and_then_recorded(tmp_path):
    with begin(config_from({}), tmp_path / "run", "r", []) as run:
        pass
    digest = run.facts["config_sha256"]
    text = (run.path / "config.toml").read_text()
    (run.path / "config.toml").write_text(text.replace("steps = 100", "steps = 50"))
    with pytest.raises(RunError, match=r"config.toml was edited since the run began: .*resume .*run KEY=VALUE"):
        reopen(run.path)
    with reopen(run.path, accept_changes=True) as again:
        assert again.config.run.steps == 50
    (change,) = again.facts["changes"]
    assert (change["what"], change["before"], change["after"]) == (
        "config.toml",
        digest,
        again.facts["config_sha256"],
    )
    reopen(run.path).close()


def test_a_finished_run_is_reopened_as_it_is_whatever_became_of_its_sources(write, tmp_path):
    place = write()
    run = started(tmp_path / "run")
    run.write_summary({})
    (place / "pinned_team.py").write_text("changed")
    before = (run.path / "run.json").read_bytes()
    with reopen(run.path) as again:
        assert again.is_finished
    assert (run.path / "run.json").read_bytes() == before
    with pytest.raises(RunError, match=r"pinned_team\.py has changed"):
        reopen(run.path, ["run.steps=9"])
    reopen(run.path).close()


def test_the_source_of_a_python_object_is_pinned_as_that_of_a_module(tmp_path, monkeypatch):
    monkeypatch.setattr(family, "_given", {})

    def score(answer, key):
        return 1.0

    config = config_from({"judge": name_of(score, "judge")})
    with begin(config, tmp_path / "run", "r", []) as run:
        pass
    assert (run.path / "sources" / "given-objects" / "score.py").read_text().startswith("def score(answer, key):")
    check_unchanged(run, accept=False, step=0)

    def score(answer, key):
        return 0.5

    family.give("given:score", score)
    with pytest.raises(RunError, match="given:score has changed"):
        check_unchanged(run, accept=False, step=0)
    check_unchanged(run, accept=True, step=1)
    assert (run.path / "sources" / "given-objects" / "score.py").read_text().endswith("return 0.5\n")
    assert "before-000001" in {path.name for path in (run.path / "sources").iterdir()}
    check_unchanged(run, accept=False, step=1)


def test_a_member_of_an_installed_package_is_pinned_by_its_digest_alone(tmp_path):
    config = config_from({"diagnostics": ["tomli_w:dumps"]})
    found = sources(config)
    assert [source.is_installed for source in found.values()] == [True]
    with begin(config, tmp_path / "run", "r", []) as run:
        assert run.facts["sources"]["tomli_w"]["copy"] == ""
        assert bound(run) == config
        known = run.facts["sources"]
        run.note({"sources": {"tomli_w": {**known["tomli_w"], "sha256": "other"}}})
        with pytest.raises(RunError, match=r"tomli_w/__init__\.py has changed"):
            check_unchanged(run, accept=False, step=0)


def test_a_run_of_an_older_version_finds_its_members_where_they_were(write, tmp_path, monkeypatch):
    place = write()
    with Run.create(tmp_path / "run", CONFIG, {}) as run:
        run.note({"sources": {"pinned_team:solve": {"file": str(place / "pinned_team.py"), "sha256": "x"}}})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="cannot be imported"):
        load_workflow(CONFIG.workflow)
    assert load_workflow(bound(run).workflow).roles == ("solver",)
    family._folders.remove(str(place))


def test_a_module_that_cannot_be_imported_leaves_no_run(write, tmp_path):
    write(pinned_helper="1 / 0\n")
    with pytest.raises(ConfigError, match="ZeroDivisionError"):
        started(tmp_path / "run")
    assert not (tmp_path / "run").exists()
