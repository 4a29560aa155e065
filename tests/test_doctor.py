"""`counterpoint doctor`: what it says about an installation."""

import tomllib
from pathlib import Path

import pytest

from counterpoint.cli import doctor
from counterpoint.cli.doctor import EXTRAS, about_missing_gpu

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def test_it_lists_every_extra_with_the_package_that_it_installs():
    extras = {
        name: packages for name, packages in PROJECT["optional-dependencies"].items() if name not in ("dev", "docs")
    }
    assert set(EXTRAS) == set(extras)
    for name, (package, _) in EXTRAS.items():
        assert any(one.startswith(package) for one in extras[name])


def test_an_extra_that_is_missing_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(doctor, "EXTRAS", {"wings": ("no-such-package", "flying")})
    assert doctor._extras() == (
        True,
        "extras: wings (flying): not installed, pip install 'counterpoint[wings]'",
    )


@pytest.mark.parametrize(("rates", "said"), [((30e9, 1e9), "so a run that starts now uses 1 thread"), ((1e9, 2e9), "")])
def test_busy_cores_are_told_and_are_no_problem(monkeypatch, rates, said):
    monkeypatch.setattr(doctor, "rates", lambda cores: rates)
    good, text = doctor._threads()
    assert good
    assert text.endswith(said)


def test_a_cuda_build_without_a_gpu_is_told_with_the_commands_that_mend_it():
    good, text = about_missing_gpu("13.0", False, ["nvidia-cublas", "triton"])
    assert good
    assert "pip install --force-reinstall --no-deps torch --index-url https://download.pytorch.org/whl/cpu" in text
    assert text.endswith("then pip uninstall -y nvidia-cublas triton")
    assert about_missing_gpu(None, False, []) == (
        True,
        "no CUDA device: micro models train in minutes, larger ones slowly",
    )


@pytest.mark.parametrize(("cuda", "build"), [(None, "a build for CPUs"), ("13.0", "built for CUDA 13.0")])
def test_a_gpu_that_torch_does_not_find_is_a_problem(cuda, build):
    good, text = about_missing_gpu(cuda, True, [])
    assert not good
    assert build in text
