"""Fork servers inside bubblewrap. (`test_sandbox` holds it to what every sandbox promises.)"""

import asyncio

import pytest

from counterpoint.errors import SandboxError
from counterpoint.sandboxes.base import STANDARD, Script, Tier
from counterpoint.sandboxes.bubblewrap import bubblewrap


def two_slots():
    return bubblewrap(slots=2)


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
