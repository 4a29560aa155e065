"""The lanes of the tests: the fast one imports every module, and a micro run is trained once for all who read it."""

from types import SimpleNamespace

import conftest
import pytest


def ended(imported, *, asked=True, seen=(), status=pytest.ExitCode.OK):
    """The exit status of a session, and the modules it blames."""
    config = SimpleNamespace(option=SimpleNamespace(every_module=asked), stash=pytest.Stash())
    conftest.pytest_testnodedown(SimpleNamespace(config=config, workeroutput={"modules": list(seen)}))
    session = SimpleNamespace(config=config, exitstatus=status)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conftest, "_imported", lambda: set(imported))
        conftest.pytest_sessionfinish(session)
    return session.exitstatus, config.stash.get(conftest.UNSEEN, [])


def test_a_module_that_no_test_imports_fails_the_lane():
    every = conftest._modules()
    assert {"counterpoint", "counterpoint.training", "counterpoint.cli.main"} <= every
    assert "counterpoint.__main__" not in every
    assert ended(every) == (pytest.ExitCode.OK, [])
    assert ended(every - {"counterpoint.training"}) == (pytest.ExitCode.TESTS_FAILED, ["counterpoint.training"])
    assert ended(every - {"counterpoint.training"}, seen=["counterpoint.training"]) == (pytest.ExitCode.OK, [])
    assert ended({}, asked=False) == (pytest.ExitCode.OK, [])
    assert ended({}, status=pytest.ExitCode.TESTS_FAILED) == (pytest.ExitCode.TESTS_FAILED, [])


def test_a_shared_run_is_trained_by_whoever_wants_it_first(shared_run, monkeypatch):
    trained = []

    def micro_run(path, **table):
        trained.append(table)
        path.mkdir(parents=True)
        for name in ("config.toml", "run.json", "summary.json"):
            (path / name).write_text("" if name == "config.toml" else "{}")
        return "new"

    monkeypatch.setattr(conftest, "micro_run", micro_run)
    assert shared_run("stand-in", workflow="single") == "new"
    assert shared_run("stand-in", workflow="single").facts == {}
    assert trained == [{"workflow": "single"}]
