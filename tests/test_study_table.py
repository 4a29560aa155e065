"""The table of a study: on a terminal, in a file, and as lines about what changed."""

import io

from rich.console import Console

from counterpoint.experiments.states import Found
from counterpoint.experiments.table import HEAD, Shown, print_table, row, table_of, total

RUNNING = Found(
    state="running", step=3, steps=10, validation=0.425, warning="capture (shared)", seconds=2.5, age=61.0, attempt=2
)
FOUND = {
    "voting-shared-s0": Found(state="finished", step=10, steps=10, validation=0.5, attempt=1),
    "voting-isolated-s0": RUNNING,
    "voting-shared-s1": Found(state="failed", problem="exit status 2: [bold]text[/bold] of a model", attempt=1),
    "voting-isolated-s1": Found(state="absent"),
}


def console(*, terminal, width=160, height=40):
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, height=height, color_system=None)


def printed(screen):
    return screen.file.getvalue()


def test_the_columns_of_a_run_by_hand():
    name = "voting-isolated-s0"
    expected = (name, "running", "3/10", "42%", "2.5", "0:18", "1:01 ago", "2", "capture (shared)")
    assert row(name, RUNNING) == expected
    assert row("a", Found(state="absent")) == ("a", "absent", *"-------")
    assert len(expected) == len(HEAD)


def test_a_file_gets_plain_columns_and_the_text_of_others_is_text():
    screen = console(terminal=False, width=40)
    print_table(FOUND, screen)
    lines = printed(screen).splitlines()
    assert len(lines) == 6
    assert "exit status 2: [bold]text[/bold] of a model" in lines[3]
    assert lines[-1] == "1 finished, 1 absent, 1 failed, 1 running"
    assert total({}) == "no cells"


def test_a_terminal_gets_a_table_with_all_of_it():
    screen = console(terminal=True)
    print_table(FOUND, screen)
    for name in FOUND:
        assert name in printed(screen)
    assert "[bold]text[/bold]" in printed(screen)


def test_a_table_longer_than_the_screen_shows_what_goes_on_and_counts_the_rest():
    many = {f"cell-s{number}": Found(state="finished") for number in range(100)} | FOUND
    screen = console(terminal=True)
    screen.print(table_of(many, most=3))
    text = printed(screen)
    assert "voting-isolated-s0" in text
    assert "voting-shared-s1" in text
    assert "cell-s50" not in text
    assert "101 are not shown" in text


def test_a_file_gets_one_line_per_change():
    screen = console(terminal=False)
    with Shown(screen) as shown:
        shown.show(FOUND)
        shown.show(FOUND)
        shown.show({**FOUND, "voting-isolated-s1": Found(state="running", attempt=1)})
        shown.say("a word [of] advice")
    assert printed(screen).splitlines() == [
        "voting-shared-s0: finished | step 10/10 | validation 50%",
        "voting-isolated-s0: running | step 3/10 | validation 42% | 2.5 s/step | 0:18 left | attempt 2"
        " | capture (shared)",
        "voting-shared-s1: failed | exit status 2: [bold]text[/bold] of a model",
        "voting-isolated-s1: running",
        "a word [of] advice",
    ]


def test_a_terminal_gets_one_table_that_is_rewritten():
    screen = console(terminal=True)
    with Shown(screen) as shown:
        shown.show(FOUND)
        shown.say("a word")
        shown.show({**FOUND, "voting-isolated-s1": Found(state="finished")})
    assert "a word" in printed(screen)
    assert "2 finished, 1 failed, 1 running" in printed(screen)


def test_a_narrow_terminal_gets_fewer_columns_and_all_of_the_names_states_and_problems():
    long = {f"evaluator-{name}": one for name, one in FOUND.items()}
    wide, narrow, thin = (console(terminal=True, width=width) for width in (160, 80, 40))
    for screen in (wide, narrow, thin):
        print_table(long, screen)
        assert all(word in printed(screen) for word in ("running", "finished", "failed", "absent", "3/10"))
        assert max(map(len, printed(screen).splitlines())) <= screen.width
    assert all(head in printed(wide) for head in HEAD)
    assert "attempt" not in printed(narrow)
    assert all(name in printed(narrow) for name in long)
    assert "…" not in printed(thin)


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    screen = console(terminal=True)
    with Shown(screen) as shown:
        shown.show(FOUND)
    assert "voting-shared-s0: finished | step 10/10 | validation 50%" in printed(screen)
    assert "\x1b" not in printed(screen)


def test_signs_that_steer_a_terminal_are_not_passed_on():
    assert row("a", Found(state="failed", problem="\x1b[31mred\n\x07"))[-1] == " [31mred  "
