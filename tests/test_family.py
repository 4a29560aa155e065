"""One look-up for every family: shipped names, the user's own, and Python objects."""

import sys
from typing import Annotated

import pytest
from pydantic import Field

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


def test_a_python_object_has_a_name_that_this_process_can_resolve():
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
