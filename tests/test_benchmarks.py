"""The benchmarks: their arithmetic by hand, and every row that needs no peer at its tiniest size."""

import json
import os
import re
import sys
import time
from dataclasses import fields
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks import _peers, _table, _timing, _work, floors, gpu, growth, history
from benchmarks.__main__ import ROWS, WITHOUT_A_PEER, _parse, main
from benchmarks._models import SHAPES, endless, random_model
from benchmarks._peers import Peer, PeerError
from benchmarks._sides import Ours
from benchmarks.base import Figure, Setting, Target
from benchmarks.floor import Cost, cost_of, operations
from counterpoint.base_model import load_chat
from counterpoint.config import ModelConfig

TINY = Setting(tiny=True, repeats=1)
BENCHMARKS = (Path(__file__).parent.parent / "docs" / "benchmarks.md").read_text()


@pytest.fixture
def no_peers(monkeypatch, tmp_path):
    """A machine on which no peer is installed."""
    monkeypatch.setattr(_peers, "PEERS", tmp_path / "peers")


@pytest.fixture
def measured(tmp_path, no_peers, capsys):
    """A function that runs rows at their tiniest size, and gives what they wrote and what they printed."""

    def run(*arguments):
        path = tmp_path / "found.json"
        main([*arguments, "--tiny", "--repeats", "1", "--json", str(path)])
        return json.loads(path.read_text()), capsys.readouterr().out

    return run


def test_a_ratio_is_taken_round_by_round_and_its_value_is_the_median():
    seconds = {"theirs": [10.0, 12.0, 30.0], "ours": [2.0, 3.0, 3.0]}
    found = _timing.ratio("x", seconds, over="theirs", under="ours", target=Target(">=", 5.0), work="some")
    assert found.values == [5.0, 4.0, 10.0]
    assert found.value == 5.0
    assert found.met
    assert found.parts == {"theirs, s": seconds["theirs"], "ours, s": seconds["ours"]}
    assert found.facts == {"work": "some"}


def test_a_target_is_met_at_its_bound_and_not_beyond():
    assert Target(">=", 5.0).met(5.0)
    assert not Target(">=", 5.0).met(4.99)
    assert Target("<=", 1.1).met(1.1)
    assert not Target("<=", 1.1).met(1.11)
    assert Figure(name="x", values=[1.0]).met is None


def test_the_slope_is_the_power_with_which_something_grows():
    assert _timing.slope([1, 2, 4, 8], [3, 6, 12, 24]) == pytest.approx(1.0)
    assert _timing.slope([1, 10, 100], [5, 500, 50_000]) == pytest.approx(2.0)
    assert _timing.slope([2, 4], [7, 7]) == pytest.approx(0.0)
    assert _timing.slope([1, 2, 4], [1, 4, 4]) == pytest.approx(1.0)  # by hand: (0, 0), (1, 2), (2, 2) in log2


def test_sides_take_turns_and_the_warm_round_is_not_counted():
    order = []
    clock = iter(range(100))

    def side(name):
        return lambda: order.append(name) or float(next(clock))

    found = _timing.in_turns({"a": side("a"), "b": side("b")}, repeats=2)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert found == {"a": [2.0, 4.0], "b": [3.0, 5.0]}


def test_a_spread_is_the_median_with_the_lowest_and_highest():
    assert _table.spread([3.0, 1.0, 2.0]) == "2 [1, 3]"
    assert _table.spread([2.0]) == "2"


def test_operations_are_counted_as_by_hand():
    cost = Cost(layers=100, head=10, seen=3)
    # 2 tokens that see 1 + 2 others, and 2 more, one of which predicts, that see 3 + 4
    assert cost.forward(before=0, tokens=2, predicted=0) == 2 * 100 * 2 + 3 * 3
    assert cost.forward(before=2, tokens=2, predicted=1) == 2 * 100 * 2 + 2 * 10 + 3 * 7
    # two calls with one prompt of 3 tokens: the first two of it once, then for each call its last and one that was said
    calls = [((5, 6, 7), 2), ((5, 6, 7), 2)]
    assert operations(calls, cost.forward) == (400 + 9) + 2 * (400 + 2 * 10 * 2 + 3 * 7)


def test_learning_costs_the_activations_once_more_and_the_adapter_twice_more():
    cost = Cost(layers=100, head=10, seen=3, adapter=8)
    forward = 2 * 108 * 2 + 2 * 10 * 2 + 3 * 3
    assert cost.forward(before=0, tokens=2, predicted=2) == forward
    assert cost.learn(before=0, tokens=2, predicted=2) == 2 * forward + 2 * 8 * 2


def test_the_cost_of_a_model_is_that_of_its_linear_layers():
    shape = SHAPES["tiny-shape"]  # 2 layers, hidden 16, 2 heads of 8 with 1 key and value head, intermediate 32
    cost = cost_of(random_model(shape))
    assert cost.layers == 2 * (16 * 16 + 2 * 16 * 8 + 16 * 16 + 3 * 16 * 32)
    assert cost.head == 64 * 16
    assert cost.seen == 4 * 2 * 2 * 8


def test_no_reply_of_the_endless_model_ends_early(tmp_path):
    chat = load_chat(ModelConfig(path=str(endless(Setting(), tmp_path / "model"))))
    assert chat.stop_ids == {0}
    assert load_chat(ModelConfig()).stop_ids == {2}


def calls_of(shape, role):
    return [sample.call for sample in shape(_work.MICRO, 500) if sample.call.key.role == role]


def test_voting_samples_share_prompts_as_in_voting():
    drafts, choices = calls_of(_work.voting, "generator"), calls_of(_work.voting, "aggregator")
    assert len(drafts) == 16 * 8 * 3
    assert len({call.prompt_ids for call in drafts}) == 16
    assert len(choices) == len({call.prompt_ids for call in choices}) == 16 * 8


@pytest.mark.parametrize("role", ["generator", "evaluator"])
def test_evaluator_optimizer_samples_extend_the_turn_before(role):
    calls = calls_of(_work.evaluator_optimizer, role)
    for first, second in pairwise(calls):
        if second.key.turn:
            said = first.prompt_ids + first.completion_ids
            assert second.prompt_ids[: len(said)] == said
            assert len(second.prompt_ids) > len(said)


def test_workers_prompts_are_all_different():
    workers = calls_of(_work.orchestrator_workers, "worker")
    assert len({call.prompt_ids for call in workers}) == len(workers) == 16 * 8 * 3


def test_a_row_without_its_peer_says_so(measured):
    found, printed = measured("step")
    (row,) = found["rows"]["step"]
    assert row["not_measured"].startswith("no trl in ")
    assert "benchmarks/peers/install trl" in row["not_measured"]
    assert "NOT MEASURED" in printed


def test_a_row_that_breaks_off_leaves_the_others_alone(measured, monkeypatch):
    monkeypatch.setattr(growth, "axes", lambda setting: 1 / 0)
    found, _ = measured("growth", "floor", "--model", "tiny-shape")
    assert found["rows"]["growth"][0]["not_measured"] == "ZeroDivisionError: division by zero"
    assert len(found["rows"]["floor"]) == 2


@pytest.mark.slow
def test_the_rows_that_also_run_on_a_gpu_run_on_any_shape(measured):
    found, _ = measured("sampling", "learning", "floor", "--model", "tiny-shape")
    names = [row["name"] for row in found["rows"]["sampling"]]
    assert names == ["transformers' generate / ours", "vLLM / ours"]
    assert "not_measured" in found["rows"]["sampling"][1]
    differences = [row["value"] for row in found["rows"]["learning"] if "difference" in row["name"]]
    assert len(differences) == len(_work.SHAPES)
    assert all(0.0 < value < 1e-4 for value in differences)
    for row in found["rows"]["floor"]:
        assert row["value"] > 1.0
        assert {"part of the peak", "completion tokens/s"} <= set(row["parts"])
        assert row["facts"]["peak_memory_bytes"] > 0
    assert found["machine"]["versions"]["torch"]
    assert set(found["load"]) == {"sampling", "learning", "floor"}


@pytest.mark.slow
def test_the_rows_about_whole_steps_run(measured):
    found, printed = measured("isolated", "diagnostics", "growth")
    assert [row["name"] for row in found["rows"]["isolated"]] == ["2 roles: isolated / shared", "2 policies / 1"]
    assert [row["target"] for row in found["rows"]["diagnostics"]] == [None, None, "<= 1.02"]
    assert len(found["rows"]["growth"]) == 2 * len(growth.axes(TINY))
    assert "TINY SIZES, NOTHING TO QUOTE" in printed


def test_every_row_is_told_on_the_page():
    rows = BENCHMARKS.split("## The rows")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", rows, flags=re.MULTILINE) == list(ROWS)


def test_a_step_beside_its_peer_gives_a_ratio(measured, monkeypatch, tmp_path):
    wrapped(tmp_path / "trl", f"{sys.executable} {written(tmp_path / 'script.py', ENDLESS)} $2")
    monkeypatch.setattr(_peers, "PEERS", tmp_path)
    found, _ = measured("step")
    (row,) = found["rows"]["step"]
    assert row["parts"]["trl, s"] == [2.5]
    assert row["value"] == 2.5 / row["parts"]["ours, s"][0]
    assert row["target"] == ">= 4"
    assert row["facts"]["tokens"] == {"trl": 16, "ours": 16}


@pytest.mark.slow
def test_every_part_of_the_gpu_run_works_and_is_written(tmp_path, no_peers, capsys):
    path = tmp_path / "gpu.json"
    gpu.main(["--out", str(path), "--device", "cpu", "--tiny", "--threads", "1", "--repeats", "1", "--commit", "abc"])
    found = json.loads(path.read_text())
    assert tuple(found["rows"]) == gpu.USUAL
    broken = [row["not_measured"] for rows in found["rows"].values() for row in rows if "not_measured" in row]
    assert [reason.startswith("no trl in ") for reason in broken] == [True]
    assert found["machine"]["commit"] == "abc"
    assert all(row["met"] for row in found["rows"]["equality"] if row["target"])
    assert "part of the peak" in capsys.readouterr().out


def test_a_part_that_takes_too_long_loses_nothing_that_was_measured(tmp_path, monkeypatch):
    def endless(setting):
        yield Figure(name="first", values=[1.0])
        time.sleep(10)

    parts = (gpu.Part("slow", lambda bench: endless, 0.2 + 1.0), gpu.Part("machine", lambda bench: brief, 5.0))
    monkeypatch.setattr(gpu, "PARTS", parts)
    path = tmp_path / "gpu.json"
    gpu.main(["--out", str(path), "--device", "cpu", "--tiny", "--only", "slow,machine"])
    rows = json.loads(path.read_text())["rows"]
    assert rows["slow"][0]["value"] == 1.0
    assert "longer than 1 s" in rows["slow"][1]["not_measured"]
    assert rows["machine"][0]["value"] == 2.0


def brief(setting):
    yield Figure(name="second", values=[2.0])


def wrapped(folder, command):
    """The peer's python is this command."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f"#!/bin/sh\nexec {command}\n")
    os.chmod(python, 0o755)


def written(path, script):
    path.write_text(script.format(peers=str(_peers._SCRIPTS)))
    return path


def test_a_quick_run_is_of_every_row_that_needs_no_peer_with_less_work():
    assert set(ROWS) - set(WITHOUT_A_PEER) == {"step"}
    quick = Setting(quick=True)
    assert quick.size(8, 2, 4) == 4
    assert quick.size(8, 2) == 8
    assert Setting(quick=True, tiny=True).size(8, 2, 4) == 2
    assert Setting().size(8, 2, 4) == 8


@pytest.mark.slow
def test_a_quick_run_says_that_it_is_quick(tmp_path, no_peers, capsys):
    path = tmp_path / "found.json"
    main(["floor", "--quick", "--model", "tiny-shape", "--repeats", "1", "--json", str(path)])
    assert "QUICK, LITTLE WORK" in capsys.readouterr().out
    with pytest.raises(ValueError, match="none to be kept"):
        history.entry_of(json.loads(path.read_text()))


def test_a_quick_or_tiny_run_is_refused_as_history_before_it_is_measured(capsys):
    with pytest.raises(SystemExit):
        main(["--history", "--tiny"])
    assert "not kept in the history" in capsys.readouterr().err


FOUND = {
    "machine": {
        "date": "2026-12-01",
        "commit": "abc1234",
        "processor": "Some CPU @ 2 GHz",
        "gpu": "A GPU",
        "versions": {},
    },
    "setting": {"tiny": False, "quick": False, "device": "cpu", "threads": 1},
    "rows": {
        "step": [{"name": "x / y", "value": 2.0, "values": [1.0, 2.0, 4.0], "target": ">= 3"}],
        "sampling": [{"name": "z", "target": None, "not_measured": "no peer"}],
    },
}


def test_a_run_is_kept_as_its_medians_with_the_lowest_and_highest_and_read_back(tmp_path):
    entry = history.entry_of(FOUND)
    assert history.write(entry, tmp_path).name == "2026-12-01-abc1234-some-cpu-2-ghz.json"
    assert history.read(tmp_path) == [entry]
    (one,) = entry.rows
    assert (one.row, one.figure, one.value, one.lowest, one.highest, one.target) == ("step", "x / y", 2, 1, 4, ">= 3")


def test_rows_measured_apart_at_one_commit_are_kept_together_and_a_row_measured_again_is_replaced(tmp_path):
    def measured(row, value, **setting):
        figure = {"name": "a / b", "value": value, "values": [value], "target": None}
        return history.entry_of({**FOUND, "rows": {row: [figure]}, "setting": {**FOUND["setting"], **setting}})

    for row, value in (("step", 1.0), ("sampling", 2.0), ("step", 3.0)):
        path = history.write(measured(row, value), tmp_path)
    (kept,) = history.read(tmp_path)
    assert {one.row: one.value for one in kept.rows} == {"step": 3.0, "sampling": 2.0}
    before = path.read_text()
    with pytest.raises(ValueError, match=r"with other threads, 1 and not 2: move it away"):
        history.write(measured("step", 4.0, threads=2), tmp_path)
    assert path.read_text() == before


@pytest.mark.parametrize(
    "text", ["{", "[1]", "null", '{"date": "2026-12-01"}', json.dumps({**FOUND, "rows": 3}), "\xff"]
)
def test_a_file_of_something_else_is_named_in_one_line(tmp_path, text, capsys):
    strange, folder = tmp_path / "strange.json", tmp_path / "entries"
    strange.write_bytes(text.encode("latin-1"))
    folder.mkdir()
    for words in (["--folder", str(folder), "--add", str(strange)], ["--folder", str(tmp_path)]):
        with pytest.raises(SystemExit) as ended:
            history.main(words)
        said = capsys.readouterr().err.splitlines()[-1]
        assert ended.value.code == 2
        assert "strange.json" in said


def test_a_picture_without_a_target_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        history.main(["--folder", str(tmp_path), "--svg", str(tmp_path / "x.svg")])
    assert "no figure has a target" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--repeats", "0"], ["--repeats", "-1"], ["--threads", "0"]])
def test_a_count_below_one_is_refused(words, capsys):
    with pytest.raises(SystemExit):
        _parse(words)
    assert f"{' '.join(words)}: at least 1 is needed" in capsys.readouterr().err


def test_what_a_gpu_did_is_kept_under_its_name():
    found = {**FOUND, "setting": {**FOUND["setting"], "device": "cuda"}}
    assert history.entry_of(found).processor == "A GPU"


def test_a_page_of_the_history_shows_every_figure_processor_commit_and_target(tmp_path, capsys):
    kept, page = tmp_path / "found.json", tmp_path / "page.html"
    kept.write_text(json.dumps(FOUND))
    for entry in history.read():
        history.write(entry, tmp_path / "entries")
    history.main(["--folder", str(tmp_path / "entries"), "--add", str(kept), "--out", str(page)])
    shown = page.read_text()
    assert "abc1234" in capsys.readouterr().out
    for text in ("2026-12-01 abc1234", "Some CPU @ 2 GHz", "x / y", "stroke-dasharray", "8 policies / 1"):
        assert text in shown


def test_the_history_holds_the_first_figures_with_where_they_are_from():
    first = [entry for entry in history.read() if entry.commit == "b662384"]
    assert [entry.processor for entry in first] == ["AMD EPYC (AVX2)", "NVIDIA H100 80GB"]
    assert all(entry.source.startswith("copied from docs/benchmarks.md") for entry in first)
    steps = {entry.processor: one.value for entry in first for one in entry.rows if one.row == "step"}
    assert steps == {"AMD EPYC (AVX2)": 2.68, "NVIDIA H100 80GB": 6.7}


def test_every_file_of_the_history_has_the_name_of_its_entry():
    assert {path.name for path in history.FOLDER.glob("*.json")} == {entry.name for entry in history.read()}


def test_the_picture_of_the_page_is_of_the_whole_history():
    picture = (Path(__file__).parent.parent / "docs" / "images" / "benchmarks.svg").read_text()
    for entry in history.read():
        assert entry.processor in picture
        assert entry.commit in picture


HAND = floors.Shape(layers=2, hidden=4, heads=2, key_heads=1, head=3, inner=5, vocabulary=7)


def test_the_weights_of_a_shape_are_those_of_hand():
    # per layer: queries 4 x 6, keys and values 4 x 3 each, output 6 x 4, and three of 4 x 5
    assert HAND.linear == 2 * (24 + 12 + 12 + 24 + 60)
    assert HAND.unembedding == 28
    assert HAND.seen == 2 * (2 * 2 * 6)  # two products of 6 numbers, each a multiplication and an addition
    assert HAND.cached == 2 * (3 + 3)


def test_the_floor_of_the_learner_is_that_of_hand():
    need = floors.learner(HAND, 2, tokens=10, predicted=4, pairs=30, batch=6)
    assert need.operations == 2 * (2 * 264 * 10 + 2 * 28 * 4 + 48 * 30)
    assert need.launches == 2 * (2 * 24 + 4)  # two micro-batches
    passed = (4 + 12) + 2 * 12 + (6 + 6 + 6) + (6 + 4) + 2 * 4 * 4 + (4 + 10) + 15 + (5 + 4)
    assert need.bytes == 2 * (2 * (264 + 28) * 2) + 2 * 2 * passed * 2 * 10 + 4 * 7 * 2 * 4


def test_the_floor_of_the_sampler_is_that_of_hand():
    need = floors.sampler(HAND, 2, rows=4, prompts=2, prompt=3, said=2)
    # two prompts of two tokens before their last, which see 1 + 2; each row's two tokens see 3 and 4
    assert need.operations == 2 * 264 * (4 + 8) + 2 * 28 * 8 + 48 * (2 * 3 + 4 * 7)
    # weights three times: for the prompts and for each token; two prompts of three tokens are looked at twice
    assert need.bytes == 3 * (264 + 28) * 2 + 12 * 2 * (2 * 2 * 3 + 4 * 3) + 2 * 7 * 2 * 8
    assert need.launches == 3 * (2 * 9 + 4)


def test_the_floor_model_counts_operations_as_the_row_of_that_name():
    size = _work.Size(tasks=2, group=3, prompt=9, completion=4)
    shape = floors.shape_of(SHAPES["tiny-shape"])
    cost = cost_of(random_model(SHAPES["tiny-shape"]))
    calls = [((task, *range(8)), size.completion) for task in range(size.tasks) for _ in range(size.group)]
    need = floors.sampler(shape, 4, rows=6, prompts=2, prompt=9, said=4)
    assert need.operations == operations(calls, cost.forward)


def test_an_adapter_has_the_weights_that_the_learner_trains():
    model = random_model(SHAPES["tiny-shape"])
    (adapter,) = Ours(model, TINY, _work.single(_work.TINY, 64)).learner.adapters()
    shape = floors.shape_of(SHAPES["tiny-shape"], rank=16)
    assert shape.adapter == sum(tensor.numel() for tensor in adapter.tensors.values())


def test_the_bound_is_what_takes_longest():
    machine = floors.Machine(operations=100.0, bytes=10.0, launch=0.5, number=2)
    need = floors.Need(operations=300.0, bytes=40.0, launches=4.0)
    assert need.times(machine) == {"operations": 3.0, "bytes": 4.0, "launches": 2.0}
    assert need.bound(machine) == ("bytes", 4.0)


def test_what_is_reached_is_told_beside_the_bound():
    machine = floors.Machine(operations=1e9, bytes=1e9, launch=0.0, number=2)
    figure = {
        "name": "a wave",
        "value": 1.0,
        "parts": {"ours, s": [3.0, 2.0, 4.0]},
        "facts": {"rows": 4, "prompts": 2, "prompt": 3, "said": 2},
    }
    found = {"setting": {"model": "hand"}, "rows": {"sampling": [figure, {"name": "z", "not_measured": "x"}]}}
    (told,) = floors.beside(found, {"hand": HAND}, machine)
    bound = floors.sampler(HAND, 2, rows=4, prompts=2, prompt=3, said=2).bound(machine)
    assert told.startswith(f"| a wave | 3 | {bound[1]:.3g} | {bound[0]} |")


ENDLESS = """
import sys
sys.path.insert(0, {peers!r})
from _line import Line
line = Line()
line.say(ready={{"version": "trl 0", "tokens": 16}})
while True:
    line.wait()
    line.say(seconds=2.5)
"""
SCRIPT = """
import sys
sys.path.insert(0, {peers!r})
from _line import Line
line = Line()
print("noise")
line.say(ready={{"threads": line.work["threads"]}})
line.wait()
line.say(seconds=2.5)
line.wait()
sys.exit("out of luck")
"""


def test_a_peer_works_when_asked_and_its_last_words_are_its_error(monkeypatch, tmp_path):
    wrapped(tmp_path / "fake", f'{sys.executable} "$@"')
    monkeypatch.setattr(_peers, "PEERS", tmp_path)
    script = written(tmp_path / "script.py", SCRIPT)
    with Peer("fake", str(script), Setting(threads=3), {}) as peer:
        assert peer.ready == {"threads": 3}
        assert peer.measure() == 2.5
        with pytest.raises(PeerError, match="fake ended; last: out of luck"):
            peer.measure()


def test_an_unknown_row_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit):
        main(["spead"])
    assert ", ".join(ROWS) in capsys.readouterr().err


FLOORS = (Path(__file__).parent.parent / "docs" / "design" / "floors.md").read_text()


def commands(page, module):
    """The arguments of each command of a page that runs a module, without what is said of it."""
    found = re.findall(rf"^python -m {re.escape(module)}((?: [^\n#]*)?)(?:#.*)?$", page, flags=re.MULTILINE)
    return [arguments.split() for arguments in found]


def test_the_tables_of_the_floors_are_what_the_commands_of_their_page_print(capsys):
    told = commands(FLOORS, "benchmarks.floors")
    assert len(told) == 4
    for arguments in told:
        floors.main(arguments)
        assert capsys.readouterr().out.strip() in FLOORS


def test_every_command_of_the_page_is_one_that_can_be_given():
    assert [gpu._parse(arguments).out.name for arguments in commands(BENCHMARKS, "benchmarks.gpu")] == [
        "gpu.json",
        "gpu.json",
        "tiny.json",
    ]
    assert len([_parse(arguments) for arguments in commands(BENCHMARKS, "benchmarks")]) == 5


def test_every_part_of_the_gpu_run_is_told_on_the_page():
    _, parts = BENCHMARKS.split("## On a GPU")
    assert re.findall(r"^\| `([\w.-]+)` \|", parts, flags=re.MULTILINE) == [part.name for part in gpu.PARTS]


def test_every_key_of_the_history_is_told_on_the_page():
    named = re.findall(r"`(\w+)`", BENCHMARKS.split("| key | content |")[1].split("\n\n")[0])
    assert set(named) >= {one.name for kind in (history.Entry, history.Measured) for one in fields(kind)}
