"""Colours of figures and pages, checked by computation: for people who are colour-blind, and against the background."""

from itertools import combinations

import numpy as np
import pytest

from counterpoint.reports.looks import CUT, DASHES, PALETTES, SHAPES, SMALLEST, STYLES, config, dash

SEVERE = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
"""Linear RGB as people without one kind of cone see it (Machado, Oliveira and Fernandes 2009, severity 1)."""
VISIONS = {"all cones": np.eye(3), **{name: np.array(matrix) for name, matrix in SEVERE.items()}}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
)
THEMES = sorted(PALETTES)


def linear(colour):
    shares = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def lab(shares):
    ratios = TO_XYZ @ shares / (TO_XYZ @ np.ones(3))
    roots = np.where(ratios > 216 / 24389, np.cbrt(ratios), (24389 / 27 * ratios + 16) / 116)
    return np.array([116 * roots[1] - 16, 500 * (roots[0] - roots[1]), 200 * (roots[1] - roots[2])])


def closest(colours):
    """The least Delta E 76 of two of the colours, over all kinds of vision."""
    return min(
        np.linalg.norm(lab(np.clip(vision @ linear(one), 0, 1)) - lab(np.clip(vision @ linear(other), 0, 1)))
        for vision in VISIONS.values()
        for one, other in combinations(colours, 2)
    )


def contrast(one, other):
    """The contrast of WCAG."""
    light, dark = sorted((TO_XYZ[1] @ linear(one), TO_XYZ[1] @ linear(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_the_computation_knows_known_colours():
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert lab(linear("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.02)
    tableau = ("#4c78a8", "#f58518", "#e45756", "#72b7b2", "#54a24b")
    assert closest(tableau) < 20, "colours that are known to fail must fail"


@pytest.mark.parametrize("theme", THEMES)
def test_everybody_can_tell_the_colours_of_roles_apart(theme):
    palette = PALETTES[theme]
    assert len(palette.roles) == 6
    assert closest(palette.roles) >= 30
    assert min(contrast(colour, palette.background) for colour in palette.roles) >= 3


@pytest.mark.parametrize("theme", THEMES)
def test_everybody_can_tell_both_sharings_apart_by_colour_and_by_shape(theme):
    palette = PALETTES[theme]
    assert list(palette.sharing) == list(SHAPES) == ["shared", "isolated"]
    assert closest(list(palette.sharing.values())) >= 30
    assert min(contrast(colour, palette.background) for colour in palette.sharing.values()) >= 3
    assert SHAPES == {"shared": "circle", "isolated": "square"}


@pytest.mark.parametrize("theme", THEMES)
def test_text_can_be_read_on_everything_that_bears_text(theme):
    palette = PALETTES[theme]
    for behind in (palette.background, palette.band):
        assert contrast(palette.ink, behind) >= 4.5
        assert contrast(palette.muted, behind) >= 4.5
    for behind in (*palette.changes, *palette.diverging):
        assert contrast(palette.ink, behind) >= 4.5


@pytest.mark.parametrize("theme", THEMES)
def test_the_parts_of_a_bar_are_told_apart(theme):
    assert closest(PALETTES[theme].changes) >= 20
    assert closest(PALETTES[theme].diverging) >= 20


def test_more_roles_than_colours_have_lines_of_their_own():
    colours = len(PALETTES["light"].roles)
    assert len(PALETTES["dark"].roles) == colours
    lines = [(place % colours, tuple(dash(place))) for place in range(colours * len(DASHES))]
    assert len(set(lines)) == 24


@pytest.mark.parametrize("theme", THEMES)
def test_a_theme_has_every_range_and_style_and_no_small_text(theme):
    found = config(theme)
    assert {"category", "sharing", "groups", "changes", "diverging"} <= set(found["range"])
    assert {*STYLES, CUT} <= set(found["style"])
    sizes = [value for part in found.values() if isinstance(part, dict) for key, value in part.items() if "Size" in key]
    assert min(sizes) >= SMALLEST == 11
