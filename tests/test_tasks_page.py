"""The page about tasks: its recipes are recipes, its modules run, and it names every member and layout."""

import asyncio
import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from counterpoint import family
from counterpoint.options import check_options
from counterpoint.recipe import config_from
from counterpoint.tasks import TASKS, load_tasks
from counterpoint.tasks.programs.layouts import Layout

PAGE = (Path(__file__).parent.parent / "docs" / "tasks.md").read_text()
RECIPES = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)
MODULES = re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("page")
    for name, text in MODULES:
        (place / name).write_text(text)
    family.look_in(place)
    yield
    family._folders.remove(str(place.resolve()))


@pytest.mark.parametrize("text", RECIPES)
def test_every_recipe_names_a_member_and_options_that_it_has(text):
    spec = config_from(tomllib.loads(text)).task
    options = check_options("task", TASKS.find(spec.name), spec.options, skip=("judge",))
    assert {name: options[name] for name in spec.options} == spec.options


def test_the_page_names_every_member_and_layout():
    rows = set(re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", PAGE, flags=re.MULTILINE))
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert named >= set(TASKS) | set(get_args(Layout))


def rewards(recipe, answers):
    """The rewards that the answers made of the key of a task of the test split get."""
    config = config_from(tomllib.loads(recipe))
    splits = load_tasks(config.task, config.sandbox, config.judge)
    task = splits.test[0]

    async def judged():
        async with splits.judging:
            return [(await task.verify(answer)).reward for answer in answers(task.key)]

    return asyncio.run(judged())


def recipe_with(text):
    return next(recipe for recipe in RECIPES if text in recipe)


def test_the_reward_of_your_own_scores_answers_to_any_task():
    def answers(key):
        return (key, str(int(key) + 1), "no idea", None)

    assert rewards(recipe_with("near_rewards:score"), answers) == [1.0, 0.5, 0.0, 0.0]


def test_the_task_sets_of_your_own_are_judged_as_they_say():
    assert rewards(recipe_with("sum_tasks:sums"), lambda key: (key, f"{key}.0", "-1")) == [1.0, 1.0, 0.0]
    assert rewards(recipe_with("my_words:words"), lambda key: (key, key[:4] + "?", "?")) == [1.0, 0.8, 0.0]
