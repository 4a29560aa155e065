"""Fork servers inside bubblewrap."""

import asyncio

import pytest

from counterpoint.errors import SandboxError
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
