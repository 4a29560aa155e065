"""The rates of signatures in runs that fell and in runs that held."""

from math import comb

import pytest

from counterpoint.analysis.signature_rates import COLUMNS, Looked, count, signature_rates
from counterpoint.analysis.signatures import SIGNATURES
from counterpoint.experiments.collected import RunRecord
from counterpoint.experiments.signed import looked_of


def looked(fell, *names):
    return Looked(fell=fell, signatures=frozenset(names))


def by_name(rates):
    return {rate.signature: rate for rate in rates}


def test_signatures_are_counted_apart_in_runs_that_fell_held_or_cannot_be_told():
    runs = [looked("fell", "echo"), looked("fell"), looked("held", "echo"), looked("held"), looked("held")]
    echo = by_name(signature_rates([*runs, looked("cannot tell", "echo")]))["echo"]
    assert (echo.fell.shown, echo.fell.among) == (1, 2)
    assert (echo.held.shown, echo.held.among) == (1, 3)
    assert (echo.cannot_tell.shown, echo.cannot_tell.among) == (1, 1)


def test_the_interval_is_exact():
    found = count(2, 9)

    def at_least(rate, shown):
        return sum(comb(9, one) * rate**one * (1 - rate) ** (9 - one) for one in range(shown, 10))

    assert at_least(found.low, 2) == pytest.approx(0.025)
    assert 1 - at_least(found.high, 3) == pytest.approx(0.025)


def test_a_signature_that_no_run_shows_is_there_with_what_its_rate_can_still_be():
    found = by_name(signature_rates([looked("held")] * 5))["echo"]
    assert found.held.words == "0 of 5 [0 %, 52 %]"
    assert found.fell.words == "no run"
    assert len(found.cells) == len(COLUMNS)


def test_without_a_run_every_shipped_signature_has_a_row_and_no_rate():
    rates = signature_rates([])
    assert [rate.signature for rate in rates] == list(SIGNATURES.members)
    assert {rate.held.words for rate in rates} == {"no run"}


def test_a_signature_of_the_user_comes_after_the_shipped_ones():
    assert signature_rates([looked("held", "mine")])[-1].signature == "mine"


def test_more_runs_than_there_are_cannot_show_a_signature():
    with pytest.raises(ValueError, match="3 of 2 runs"):
        count(3, 2)


def test_unfinished_runs_and_controls_are_left_out():
    def run(name, **given):
        return RunRecord(run=name, path=name, labels={}, seed=0, **given)

    runs = [
        run("a", state="finished", fell="held", signatures=("echo: critic", "echo: judge")),
        run("b", state="failed"),
        run("c", state="finished", fell="fell", control="single"),
    ]
    assert looked_of(runs) == [looked("held", "echo")]
    assert len(looked_of(runs, controls=True)) == 2
    (strange,) = looked_of([run("d", state="finished", fell="held", signatures=("e\x1b[2Jcho: critic",))])
    assert strange.signatures == {"e [2Jcho"}
