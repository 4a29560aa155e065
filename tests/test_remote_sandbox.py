"""The remote sandbox, against a stand-in for its server."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from counterpoint.errors import ConfigError, SandboxError
from counterpoint.options import Spec
from counterpoint.sandboxes import build_sandbox
from counterpoint.sandboxes.base import STANDARD, Exam, Script
from counterpoint.sandboxes.remote import Remote, remote
from counterpoint.testing.sandbox_conformance import sandbox_checks

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def url():
    command = [sys.executable, str(HERE / "sandbox_fusion.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.stdin.close()
        server.wait(timeout=20)


@pytest.mark.parametrize(
    "check", sandbox_checks(lambda: Remote("http://nowhere", 2, "")), ids=lambda check: check.__name__
)
def test_it_keeps_its_promises(check, url):
    asyncio.run(check(lambda: remote(url=url, slots=2)))


def test_it_holds_no_exams(url):
    async def run():
        sandbox = remote(url=url)
        try:
            await sandbox.run(Exam(source="", function="f", exam=""), STANDARD)
        finally:
            await sandbox.close()

    with pytest.raises(SandboxError, match="does not support exams"):
        asyncio.run(run())


def test_a_server_that_is_not_there_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setattr(sys.modules[Remote.__module__], "_PAUSES", (0.0, 0.0))

    async def run(url):
        sandbox = remote(url=url)
        await sandbox.run(Script(source="print(1)"), STANDARD)

    with pytest.raises(SandboxError, match=r"http://127\.0\.0\.1:9/run_code: ConnectError"):
        asyncio.run(run("http://127.0.0.1:9/"))


def test_an_answer_without_facts_is_an_error(url, monkeypatch):
    monkeypatch.setattr(sys.modules[Remote.__module__], "_PAUSES", (0.0,))

    async def run():
        await remote(url=f"{url}/elsewhere").start()

    with pytest.raises(SandboxError, match="KeyError"):
        asyncio.run(run())


def test_a_recipe_can_name_it():
    assert build_sandbox(Spec(name="remote", url="http://localhost:8080")).slots == 16
    with pytest.raises(ConfigError, match=r"sandbox\.remote\.url is required"):
        build_sandbox(Spec(name="remote"))
