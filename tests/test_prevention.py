"""What interventions did: planted effects are found, null ones are not, and a lower peak is no recommendation."""

from dataclasses import replace

import pytest
from interventions_by_chance import Effect, study_of

from counterpoint.errors import ConfigError
from counterpoint.experiments.preventing import prevention

NOTHING = Effect()


def outcomes(found):
    return {one.label: one.outcome for one in found.pooled}


def test_an_intervention_that_prevents_falls_is_found():
    found = prevention(study_of({"nothing": NOTHING, "anchor": Effect(falls=0)}))
    assert outcomes(found) == {"anchor": "prevents the fall"}
    (best,) = found.preventing
    assert (best.pairs.first, best.pairs.second, best.falls.fell, best.falls_without.fell) == (4, 0, 0, 4)
    assert best.kept.found.shown[1] > 0.0


def test_one_that_costs_the_peak_is_not_recommended():
    found = prevention(study_of({"nothing": NOTHING, "slow": Effect(peak=-0.5, falls=0)}))
    assert outcomes(found)["slow"] in {"ends higher, costs the peak", "ends higher, peak cannot be told"}
    assert not found.preventing
    assert "no label of intervention is shown to prevent the fall without a lower peak" in found.sentences


if __name__ == "__main__":
    found = prevention(
        study_of(
            {
                "nothing": NOTHING,
                "anchor": Effect(falls=0),
                "slow": Effect(peak=-0.9, falls=0),
                "null": Effect(),
                "harm": Effect(peak=-1, falls=5),
                "stop": Effect(stopped=True),
            },
            cells=("isolated", "shared"),
        )
    )
    print("\n".join(found.sentences))
    from counterpoint.experiments.prevented import rows_of

    for row in rows_of(found.pooled):
        print(row)
    for row in rows_of(found.cells):
        print(row)
    print(found.warnings, replace, pytest, ConfigError)
