"""One look-up for every family: shipped names, the user's own, and Python objects."""

import sys
from functools import partial
from typing import Annotated

import pytest
from pydantic import Field

from counterpoint import family
from counterpoint.errors import ConfigError
from counterpoint.family import Family, give, look_in, name_of, sources_of
from counterpoint.options import Spec


class Thing:
    def __init__(self, size: Annotated[int, Field(ge=1)] = 1, *, colour: str = "red", place: str = "") -> None:
        self.made = (size, colour, place)


def scaled(value: float, *, factor: float = 2.0) -> float:
    return value * factor


FAMILY: Family[Thing] = Family(
    "thing", {"thing": "test_family:Thing", "scaled": "test_family:scaled", "seven": "test_family:SEVEN"}, takes=Thing
)
SEVEN = Thing(7)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A function that writes `my_things.py` beside a recipe, which is not the current directory."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    look_in(tmp_path)

    def write(text):
        (tmp_path / "my_things.py").write_text(text)

    yield write
    sys.modules.pop("my_things", None)


def test_a_shipped_member_is_built_from_its_options_and_its_context():
    assert FAMILY.build(Spec(name="thing", size=3, colour="blue"), place="here", weather="fine").made == (
        3,
        "blue",
        "here",
    )
    assert FAMILY.bind(Spec(name="scaled", factor=3.0))(2.0) == 6.0


def test_a_member_that_is_made_already_takes_no_options():
    assert FAMILY.build(Spec(name="seven")) is SEVEN
    with pytest.raises(ConfigError, match="is an object and takes no options; size given"):
        FAMILY.build(Spec(name="seven", size=2))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Spec(name="thng"), r"unknown thing 'thng'; did you mean 'thing'\? allowed: .*, or my_module:my_thing"),
        (Spec(name="thing", size=0), "thing.thing.size = 0: input should be greater than or equal to 1"),
        (Spec(name="thing", sise=2), "unknown key in .* 'sise'; did you mean 'size'"),
        (Spec(name="no_such_module:x"), "module 'no_such_module' cannot be imported: ModuleNotFoundError"),
        (Spec(name="test_family:Thnig"), "unknown name in test_family 'Thnig'; did you mean 'Thing'"),
        (Spec(name="given:nothing"), "given:nothing was passed as a Python object, which this process does not have"),
    ],
)
def test_a_name_or_an_option_that_is_wrong_is_one_line(spec, message):
    with pytest.raises(ConfigError, match=message) as raised:
        FAMILY.build(spec)
    assert "\n" not in str(raised.value)


def test_a_module_of_ones_own_is_found_beside_the_recipe(own):
    own("def make(*, size=4):\n    return ('made', size)\n")
    assert FAMILY.build(Spec(name="my_things:make", size=5)) == ("made", 5)


def test_a_module_that_was_changed_is_executed_again(own):
    own("def make():\n    return 'old'\n")
    assert FAMILY.build(Spec(name="my_things:make")) == "old"
    before = sources_of("my_things:make")["my_things"]
    own("def make():\n    return 'new!'\n")
    assert FAMILY.build(Spec(name="my_things:make")) == "new!"
    after = sources_of("my_things:make")["my_things"]
    assert before.file == after.file
    assert before.sha256 != after.sha256


def test_what_a_module_raises_while_it_is_imported_is_one_line(own):
    own("1 / 0\n")
    with pytest.raises(ConfigError, match="module 'my_things' cannot be imported: ZeroDivisionError: division by zero"):
        FAMILY.find("my_things:make")
    own("def make(:\n")
    with pytest.raises(ConfigError, match=r"SyntaxError: .*line 1"):
        FAMILY.find("my_things:make")


@pytest.fixture
def nothing_given(monkeypatch):
    """No Python object was passed in this process before."""
    monkeypatch.setattr(family, "_given", {})


def test_objects_of_one_name_do_not_replace_each_other(nothing_given):
    def weighted(weight):
        def rule():
            return weight

        return rule

    rules = [weighted(1), weighted(2), weighted([]), weighted([])]
    names = [name_of(rule, "judge") for rule in rules]
    assert names == ["given:rule", "given:rule-2", "given:rule-3", "given:rule-3"]
    assert [name_of(rule, "judge") for rule in rules] == names
    assert [FAMILY.find(name)() for name in names] == [1, 2, [], []]
    assert [name_of(lambda: 1.0, "judge"), name_of(lambda: 0.0, "judge")] == ["given:judge", "given:judge-2"]
    assert FAMILY.find("given:judge")() == 1.0


class Settings:
    def __init__(self, size: int) -> None:
        self.size = size


class Kept:
    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size


@pytest.mark.parametrize(
    ("make", "are_distinct"),
    [
        (lambda number: lambda: 1, False),
        (lambda number: lambda: number, True),
        (lambda number: lambda size=number: size, True),
        (lambda number: partial(scaled, 1.0, factor=number), True),
        (lambda number: partial(scaled, 1.0, factor=1.0), False),
        (Settings, True),
        (lambda number: Settings(1), False),
        (Kept, True),
        (lambda number: Kept(1), False),
        (lambda number: [{"question": "1 + 1?", "answer": number}], True),
        (lambda number: [{"question": "1 + 1?", "answer": 2}], False),
        (lambda number: [1, True][number] == 1 and [1, True][number], True),
        (lambda number: bytearray(b"1"), True),
        (lambda number: type("Rule", (), {}), True),
    ],
)
def test_an_object_made_again_keeps_its_name_where_it_can_be_told_that_it_does_the_same(
    nothing_given, make, are_distinct
):
    assert len({name_of(make(number), "thing") for number in range(2)}) == 1 + are_distinct


def test_an_object_that_refers_to_itself_is_told_apart_in_the_end(nothing_given):
    def counted():
        def down(number):
            return number and down(number - 1)

        return down

    assert [name_of(counted(), "thing") for _ in range(2)] == ["given:down", "given:down-2"]


def test_a_python_object_has_a_name_that_this_process_can_resolve(nothing_given):
    assert name_of(scaled, "thing") == "test_family:scaled"

    def score(answer, key):
        return 1.0

    name = name_of(score, "judge")
    assert name == "given:score"
    assert FAMILY.find(name) is score
    assert name_of(lambda: 1, "judge") == "given:judge"
    assert sources_of(name)[name].text == b"def score(answer, key):\n    return 1.0\n"
    pair = [name_of(lambda answer, key: max(answer, key), "judge"), 1]
    assert sources_of(pair[0])[pair[0]].text == b"lambda answer, key: max(answer, key)"
    give("given:score", SEVEN)
    assert FAMILY.build(Spec(name="given:score")) is SEVEN
