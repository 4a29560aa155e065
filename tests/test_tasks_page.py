"""The page about tasks: its recipes are recipes, and it names every member and layout."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from counterpoint.options import check_options
from counterpoint.recipe import config_from
from counterpoint.tasks import TASKS
from counterpoint.tasks.programs.layouts import Layout

PAGE = (Path(__file__).parent.parent / "docs" / "tasks.md").read_text()
RECIPES = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("text", RECIPES)
def test_every_recipe_names_a_member_and_options_that_it_has(text):
    spec = config_from(tomllib.loads(text)).task
    options = check_options("task", TASKS[spec.name], spec.options, skip=("judge",))
    assert {name: options[name] for name in spec.options} == spec.options


def test_the_page_names_every_member_and_layout():
    rows = set(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGE, flags=re.MULTILINE))
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named >= set(TASKS) | set(get_args(Layout))
