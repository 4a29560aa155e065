"""Numbers of each role over training: accuracy, entropy, distance from the base, and calls with signal."""

from typing import TYPE_CHECKING

from counterpoint.reports import frames
from counterpoint.reports.figure import Figure
from counterpoint.reports.figures.drawn_lines import Subject, drawn
from counterpoint.reports.figures.recorded import Recorded

if TYPE_CHECKING:
    import polars as pl


def role_accuracies(recorded: Recorded) -> Figure | None:
    """The score of each role's claims, in evaluations on test problems or, without them, as sampled in training."""
    found = frames.role_accuracies(recorded.cell)
    test = found.filter(split="test")
    own, where = (test, "test problems") if len(test) else (found.filter(split="train"), "training problems, as sampled")
    subject = Subject(
        name="role-accuracies",
        title=f"Accuracy of each role, {where}",
        says="The mean score of a role's claims: of its own answers, verdicts or choices, on the problems on which it"
        " was called.",
        axis="accuracy",
        form="%",
        words="{:.1%}",
    )
    return drawn(recorded, _of(own.rename({"role": "who"})), subject)


def entropy(recorded: Recorded) -> Figure | None:
    """The entropy of each role's sampling; None where it was not recorded."""
    subject = Subject(
        name="entropy",
        title="Entropy of each role",
        says="Estimated from the log-probabilities of sampled tokens: near 0 a role always says the same.",
        axis="nats per token",
        least=0.0,
    )
    return drawn(recorded, _number(recorded, "entropy"), subject)


def distance(recorded: Recorded) -> Figure | None:
    """The distance of each role's policy from its base; None where it was not recorded."""
    subject = Subject(
        name="distance",
        title="Distance of each role from the base",
        says="The KL divergence of a role's policy from the base model, on tokens that it sampled.",
        axis="nats per token",
        least=0.0,
    )
    return drawn(recorded, _number(recorded, "distance"), subject)


def signal(recorded: Recorded) -> Figure | None:
    """The calls of each role from which something can be learned; None where credit was not recorded."""
    import polars as pl

    subject = Subject(
        name="signal",
        title="Calls with signal",
        says="The fraction of a role's calls whose group has rewards that differ: from the others nothing is learned.",
        axis="calls with signal",
        form="%",
        words="{:.0%}",
        least=0.0,
        most=1.0,
    )
    found = _number(recorded, "without_signal").with_columns((1.0 - pl.col("value")).alias("value"))
    return drawn(recorded, found, subject)


def _number(recorded: Recorded, number: str) -> "pl.DataFrame":
    return _of(recorded.of_roles.filter(number=number).rename({"role": "who"}))


def _of(found: "pl.DataFrame") -> "pl.DataFrame":
    return found.select("seed", "step", "who", "value")
