"""`counterpoint export`."""

from pathlib import Path

from counterpoint.cli.out import Terminal, check_folder
from counterpoint.export.export import export
from counterpoint.run import Run, Step


def write_policy(path: Path, policy: str, step: Step | None, merged: bool, out: Path, dtype: str) -> None:
    """Write the policy into `out`, and print what was written."""
    check_folder(out)
    found = export(Run.read(path), policy, out, step=step, merged=merged, dtype=dtype)
    console = Terminal()
    kind = "a model of its own" if merged else f"a PEFT adapter for {found.base}"
    roles = ", ".join(found.policy.roles)
    console.print(f"{found.folder}: policy {policy} at step {found.step}, {kind}", markup=False, soft_wrap=True)
    for note in found.notes:
        console.print(note, markup=False, soft_wrap=True)
    console.print(f"its roles: {roles}; how to load it: {found.folder / 'README.md'}", markup=False, soft_wrap=True)
