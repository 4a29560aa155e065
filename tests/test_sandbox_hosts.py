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
OFTEN = ("user", "user-blocked")
"""The hosts of the fast lane: beside root, whom other tests play, somebody without rights in both tiers."""
STRICT = (*OFTEN, "root-without-landlock", "user-blocked-without-landlock", "root-without-capabilities")
"""Heavy programs are stopped by limits of the kernel, alike in a tier for root and for others: these are one of each.

Root in tier A is played by `test_sandbox.py`, with every program.
"""
LIGHTLY = ("root-blocked", "root-blocked-and-hidden", "user-without-landlock", "root-of-a-namespace")
PROGRAMS = {program.name: program for program in (*HOSTILE, *FAIR)}


@pytest.fixture(scope="module")
def reports(request: pytest.FixtureRequest):
    """Host -> what it says of the programs that are not heavy; two hosts at a time, of those that are to be tested."""
    asked = {item.callspec.params["name"] for item in request.session.items if "reports" in item.fixturenames}
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(_report, name, "light") for name in (*OFTEN, *LIGHTLY) if name in asked}


@pytest.mark.parametrize("name", [*OFTEN, *(pytest.param(name, marks=pytest.mark.slow) for name in LIGHTLY)])
def test_no_program_of_the_light_ones_gets_out_of_line(reports: dict[str, "Future[dict]"], name: str):
    _check(name, reports[name].result())


@pytest.mark.slow
@pytest.mark.parametrize("name", STRICT)
def test_no_program_gets_out_of_line(name: str):
    """Where the fast lane has run the light ones, the heavy ones are left."""
    _check(name, _report(name, "heavy" if name in OFTEN else "all"))


def test_every_host_is_tried_and_every_tier_with_heavy_programs_as_root_and_as_somebody_else():
    assert {*STRICT, *LIGHTLY, "root"} == {*HOSTS}
    assert {(HOSTS[name].tier, HOSTS[name].user) for name in (*STRICT, "root")} == {
        (tier, user) for tier in "ABC" for user in (False, True)
    }


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
    assert outcomes
    assert {program: text for program, text in wrong.items() if text} == {}
    assert report["damage"] == []
