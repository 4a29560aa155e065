"""Fork servers inside bubblewrap."""

import asyncio
import random
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from counterpoint.errors import SandboxError
from counterpoint.sandboxes._slot import Slot
from counterpoint.sandboxes.base import STANDARD, Script, Tier
from counterpoint.sandboxes.bubblewrap import bubblewrap
from counterpoint.testing.sandbox_conformance import sandbox_checks


def two_slots():
    return bubblewrap(slots=2)


@pytest.mark.parametrize("check", sandbox_checks(two_slots), ids=lambda check: check.__name__)
def test_it_keeps_its_promises(check):
    asyncio.run(check(two_slots))


def run(*sources):
    async def all_of_them():
        sandbox = two_slots()
        try:
            tier = await sandbox.start()
            return tier, await asyncio.gather(*(sandbox.run(Script(source=one), STANDARD) for one in sources))
        finally:
            await sandbox.close()

    return asyncio.run(all_of_them())


def test_the_file_system_of_the_host_is_out_of_sight(tmp_path):
    (tmp_path / "secret").write_text("7")
    exists = "import os\nprint(os.path.exists({!r}))"
    tier, found = run(exists.format(str(tmp_path / "secret")), exists.format("/proc/1/environ"), "print(1)")
    assert tier is Tier.A
    assert [one.stdout for one in found][::2] == [b"False\n", b"1\n"]


def test_packages_can_be_imported():
    _, (found,) = run("import numpy\nprint(numpy.arange(4).sum())")
    assert found.stdout == b"6\n", found.stderr


def test_without_the_program_it_says_what_to_install():
    with pytest.raises(SandboxError, match="apt install bubblewrap"):
        bubblewrap(command="no-such-bwrap")


def test_nothing_is_left_of_a_server_that_is_killed_while_its_walls_are_built():
    """Bwrap's own child waits for ever if bwrap ends before it has told the child to go on.

    In place of the server there is a program that ends, as it does, when the other end of what it reads is closed.
    """
    generator, mark = random.Random(0), "61234.25"
    command = [*two_slots()._command[:-6], "sh", "-c", "read word", mark]
    for _ in range(60):
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        with subprocess.Popen(command, start_new_session=True, stdin=pipe, stdout=null, stderr=null) as process:
            time.sleep(generator.uniform(0.0, 0.012))
            Slot(process, None).kill()
    end = time.monotonic() + 5
    while left := _running(mark):
        assert time.monotonic() < end, left
        time.sleep(0.05)


def _running(word):
    """The processes with such a word in their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if word.encode() in (place / "cmdline").read_bytes().split(b"\0"):
                found.append(int(place.name))
    return found
