"""Wherever it runs, with whatever that host has to confine with: hostile programs achieve nothing, fair ones pass."""

import json
import os
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from hostile import FAIR, HOSTILE
from sandbox_host import HOSTS, USER, Outcome, fault

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(sys.platform != "linux", reason="programs are confined by what Linux has"),
    pytest.mark.skipif(
        sys.platform == "linux" and os.geteuid() != 0, reason="only root can pretend to be another host"
    ),
]
SCRIPT = Path(__file__).with_name("sandbox_host.py")
USUAL = ("user", "root-blocked", "user-blocked", "root-without-landlock", "user-without-landlock")
OFTEN = ("user", "user-blocked")
"""Of these, those of the fast lane: beside root, whom other tests play, somebody without rights in both tiers."""
PROGRAMS = {program.name: program for program in (*HOSTILE, *FAIR)}


@pytest.fixture(scope="module")
def reports(request: pytest.FixtureRequest):
    """Host -> what it says of the programs that are not heavy; two hosts at a time, of those that are to be tested."""
    asked = {item.callspec.params["name"] for item in request.session.items if "reports" in item.fixturenames}
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(_report, name, "light") for name in USUAL if name in asked}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in USUAL]
)
def test_no_program_of_the_light_ones_gets_out_of_line(reports: dict[str, "Future[dict]"], name: str):
    _check(name, reports[name].result())


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTS)
def test_no_program_gets_out_of_line(name: str):
    _check(name, _report(name, "all"))


def _report(name: str, which: str) -> dict:
    command = [sys.executable, str(SCRIPT), name, which]
    process = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd="/")
    assert process.returncode == 0, process.stderr[-2000:]
    return json.loads(process.stdout)


def _check(name: str, report: dict) -> None:
    if "refused" in report:
        pytest.skip(report["refused"])
    host = HOSTS[name]
    assert report["tier"] == host.tier
    assert report["user"] == (USER if host.user else 0)
    outcomes = {program: Outcome(**outcome) for program, outcome in report["outcomes"].items()}
    wrong = {program: fault(PROGRAMS[program], outcome, report["tier"]) for program, outcome in outcomes.items()}
    assert {program: text for program, text in wrong.items() if text} == {}
    assert report["damage"] == []
