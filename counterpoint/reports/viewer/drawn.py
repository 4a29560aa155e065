"""Small pictures that the server draws: the course of a run in a line of a table."""

from collections.abc import Sequence

from markupsafe import Markup

_WIDTH, _HEIGHT, _EDGE = 96, 22, 2.5


def sparkline(curve: Sequence[tuple[int, float]], steps: int | None) -> Markup:
    """The validation accuracy over the steps of a run, from 0 at the bottom to 1 at the top; empty without two points.

    The line ends where the run has come to; its last point and its best are marked.
    """
    points = [(step, accuracy) for step, accuracy in curve if 0 <= accuracy <= 1]
    if len(points) < 2:
        return Markup("")
    last = max(steps or 0, points[-1][0], 1)
    low, high = min(one for _, one in points), max(one for _, one in points)
    pad = max(0.02, (high - low) * 0.1)
    low, high = max(0.0, low - pad), min(1.0, high + pad)

    def place(step: int, accuracy: float) -> str:
        x = _EDGE + (_WIDTH - 2 * _EDGE) * step / last
        y = _HEIGHT - _EDGE - (_HEIGHT - 2 * _EDGE) * (accuracy - low) / (high - low)
        return f"{x:.1f},{y:.1f}"

    line = " ".join(place(*one) for one in points)
    best = place(*max(points, key=lambda one: one[1])).split(",")
    end = place(*points[-1]).split(",")
    told = f"validation from {points[0][1]:.0%} to {points[-1][1]:.0%}, best {max(one for _, one in points):.0%}"
    return Markup(
        '<svg class="spark" role="img" aria-label="{told}" width="{w}" height="{h}" viewBox="0 0 {w} {h}">'
        '<polyline points="{line}"/><circle class="best" cx="{b[0]}" cy="{b[1]}" r="2.2"/>'
        '<circle class="last" cx="{e[0]}" cy="{e[1]}" r="1.8"/></svg>'
    ).format(told=told, w=_WIDTH, h=_HEIGHT, line=line, b=best, e=end)
