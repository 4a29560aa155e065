"""The runner of a study: what it starts, in which order, and what it makes of every end."""

import json

import pytest
from fake_studies import QUICK, Heard, starter, starts, study, swap

from counterpoint.experiments.launch import launch, survey


def run(fake, tmp_path, behaviours=None, **options):
    folder = tmp_path / "study"
    options.setdefault("rules", QUICK)
    return launch(fake, folder, start=starter(fake, tmp_path / "scratch", behaviours), **options)


def test_every_cell_is_trained_once_seed_by_seed(tmp_path):
    fake = study(seeds=(0, 1))
    outcome = run(fake, tmp_path)
    assert (outcome.failed, outcome.left, outcome.exit_status) == ({}, {}, 0)
    assert starts(tmp_path / "study") == [
        ("train", "shared-s0"), ("train", "isolated-s0"), ("train", "shared-s1"), ("train", "isolated-s1")
    ]  # fmt: skip
    again = run(fake, tmp_path)
    assert again.finished == outcome.finished
    assert len(starts(tmp_path / "study")) == 4
    found = survey(fake, tmp_path / "study")
    one = found["shared-s0"]
    assert (one.state, one.step, one.steps, one.validation, one.attempt) == ("finished", 6, 6, 0.6, 1)
    assert (one.warning, one.seconds) == ("cliff", 0.5)
