"""`counterpoint diagnose`, warnings while a run goes on, and rolling back, on small real runs."""

import asyncio
import json
import re
import shutil
import tomllib

import pytest
import tomli_w
from command_line import command_line
from conftest import micro_run
from test_falls import FALLEN, of

from counterpoint.analysis import signatures
from counterpoint.analysis.alarm import Alarm
from counterpoint.analysis.history import history_of
from counterpoint.analysis.signatures import EARLY, SIGNATURES, Diagnosis
from counterpoint.analysis.signatures.base import Finding
from counterpoint.analysis.signatures.echo import ECHO
from counterpoint.analysis.summary import summarize
from counterpoint.cli.diagnose import report
from counterpoint.cli.signs import sign_lines
from counterpoint.cli.tables import partial_rewards
from counterpoint.errors import ConfigError, RunError
from counterpoint.files import RowReader
from counterpoint.options import Spec
from counterpoint.plan.plan import plan
from counterpoint.policy import Routing
from counterpoint.run import Run
from counterpoint.training import peak_of, train

EARLY_WARNINGS = {
    *(f"warning/{name}" for name in ("failed_episodes", "unjudged_answers", "constant_reward", "no_signal")),
    *(
        f"warning/{name}/{role}"
        for name in ("cut_off_replies", "unreadable_replies", "silent_role")
        for role in ("generator", "aggregator")
    ),
}


def diagnose(path, *options):
    return command_line("diagnose", path, *options)


def test_a_run_of_two_steps_shows_nothing_and_says_so(tiny_run, tmp_path):
    done = diagnose(tiny_run.path, "--out", str(tmp_path / "found.json"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "read 2 training steps and 3 evaluations"
    assert lines[3].startswith("not looked for, too little was recorded: cliff, fallen role, ")
    assert "grown random, selection blindness (4 evaluations); " in lines[3]
    assert "length takeover, echo, rubber stamp" in lines[3]
    assert lines[-1] == f"none found of: {', '.join([*EARLY[:-1], 'amplified drift', 'no signal'])}"
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["findings"] == []
    assert found["thresholds"]["dominance"] == 0.8


def test_a_run_that_fell_says_so_and_from_which_step_on(tiny_run, tmp_path, capsys):
    path = tmp_path / "fallen"
    shutil.copytree(tiny_run.path, path)
    rows = [{**one, "numbers": {"episode/oracle": one["accuracy"]}} for one in of(FALLEN)]
    (path / "evaluations.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    report(path, None)
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("fell: 46.7 points [36.1, 55.4] below its peak at step 20, from step 30 on (between 30")
    assert any(line.endswith("; so are all from step 30 on (between 30 and 40)") for line in lines)
    assert "fallen role: team (steps 20 to 60)" in lines
    assert any(line == "  evidence: no role's own accuracy fell by the rule for the team" for line in lines)
    meanings = [line for line in lines if line.startswith("  meaning:  The team fell")]
    assert len(meanings) == 1


def test_a_run_that_an_intervention_stopped_is_not_said_to_have_held(tiny_run, tmp_path, capsys):
    path = tmp_path / "stopped"
    shutil.copytree(tiny_run.path, path)
    rows = [{**one, "numbers": {"episode/oracle": one["accuracy"]}} for one in of([40, 80, 90, 90, 90, 90])]
    (path / "evaluations.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    report(path, None)
    assert capsys.readouterr().out.splitlines()[2].startswith("held: it lost ")
    state = path / "checkpoints" / f"{tiny_run.checkpoints()[-1]:06d}" / "state.json"
    state.write_text(json.dumps({**json.loads(state.read_text()), "stopped": "my own reason"}), encoding="utf-8")
    report(path, None)
    line = capsys.readouterr().out.splitlines()[2]
    assert line.startswith("cannot tell whether it fell: ")
    assert line.endswith("; stopped after the evaluation at step 50: my own reason")


def test_rates_are_counted_over_several_runs_and_written(tiny_run, tmp_path):
    done = diagnose(tiny_run.path, "--rates", "--out", str(tmp_path / "rates.json"))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split("  ")[0] == "signature"
    assert any(line.startswith("0 runs fell, 0 held, of 1 it cannot be told") for line in lines)
    rates = json.loads((tmp_path / "rates.json").read_text(encoding="utf-8"))["rates"]
    names = [one["signature"] for one in rates]
    assert "echo" in names
    assert "cliff" not in names, "a run that held cannot show it"


def test_more_than_one_run_goes_with_rates(tiny_run):
    done = diagnose(tiny_run.path, tiny_run.path)
    assert done.returncode != 0
    assert "diagnose reads one run; --rates counts signatures over several" in done.stderr


@pytest.mark.parametrize("command", ["diagnose", "evaluate"])
def test_a_file_that_cannot_be_written_is_an_error_before_the_work(tiny_run, tmp_path, command):
    (tmp_path / "file").touch()
    for out, place in ((tmp_path, f"--out {tmp_path}"), (tmp_path / "file" / "found.json", tmp_path / "file")):
        done = command_line(command, tiny_run.path, "--out", out)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: {place} cannot be written")


@pytest.fixture
def sick(tiny_run, tmp_path):
    """A run whose aggregator approves nothing and whose files end in the middle of a line."""
    path = tmp_path / "sick"
    shutil.copytree(tiny_run.path, path)
    (row, *_) = tiny_run.metric_rows()
    rows = [json.dumps({**row, "step": step, "role/aggregator/false_rejection": 0.9}) for step in range(1, 31)]
    (path / "metrics.jsonl").write_text("\n".join(rows) + '\n{"step": 31, "role/agg')
    (path / "summary.json").unlink()
    return path


def test_a_run_that_was_killed_is_diagnosed_too(sick):
    done = diagnose(sick)
    assert done.returncode == 0, done.stderr
    assert "over-rejection: aggregator (steps 11 to 30)" in done.stdout
    assert "  evidence: role/aggregator/false_rejection 0.90, threshold 0.5" in done.stdout
    assert SIGNATURES.find("over-rejection").advice in done.stdout


def test_a_folder_that_is_no_run_or_has_not_begun_is_an_error_in_a_line(tmp_path, tiny_run):
    assert "is not a run directory" in diagnose(tmp_path).stderr
    with Run.create(tmp_path / "new", tiny_run.config, {}):
        pass
    done = diagnose(tmp_path / "new")
    assert (done.returncode, "has not begun" in done.stderr) == (2, True)


def test_every_step_has_its_warnings(tiny_run):
    for row in tiny_run.metric_rows():
        warnings = {name: value for name, value in row.items() if name.startswith("warning/")}
        assert set(warnings) == {"warning/cliff", "warning/capture/shared", *EARLY_WARNINGS}
        assert set(warnings.values()) == {0.0}


def right(accuracy):
    """The outcomes of 64 tasks, the first of which are right."""
    return {str(task): [float(task < 64 * accuracy)] for task in range(64)}


def test_the_alarm_goes_on_from_what_the_directory_holds(sick):
    run = Run.read(sick)
    fall = [0.9, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1]
    rows = [
        {"step": step, "split": "validation", "accuracy": accuracy, "outcomes": right(accuracy), "numbers": {}}
        for step, accuracy in enumerate(fall)
    ]
    (sick / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = run.metric_rows()
    captured = {"gradient/all/dominance": 0.95, "gradient/all/generator/alignment": 0.97}
    captured |= {"gradient/all/generator/share": 0.95, "gradient/all/aggregator/share": 0.05}
    texts = [{**row, **captured, "role/aggregator/tokens": 5.0 if row["step"] < 11 else 60.0} for row in rows]
    (sick / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    alarm = Alarm(run, Routing({"generator": "all", "aggregator": "all"}))
    found = alarm.look(31, {**texts[-1]})
    assert {name for name, value in found.items() if value} == {"warning/cliff", "warning/capture/all"}


def test_an_alarm_reads_each_evaluation_once_and_warns_as_one_that_reads_them_all_again(sick, monkeypatch):
    run = Run.read(sick)
    routing = Routing({"generator": "all", "aggregator": "all"})
    (sick / "metrics.jsonl").write_text("")
    (sick / "evaluations.jsonl").write_text("")
    alarm, read = Alarm(run, routing), []
    new_rows = RowReader.new_rows
    monkeypatch.setattr(RowReader, "new_rows", lambda self: read.append(found := new_rows(self)) or found)
    fall = [0.9] * 20 + [0.1] * 10
    warned = []
    for step, accuracy in enumerate(fall, start=1):
        row = {"step": step, "split": "validation", "accuracy": accuracy, "outcomes": right(accuracy)}
        run.add_evaluation({**row, "numbers": {}})
        numbers = {"gradient/all/dominance": 0.95, "gradient/all/generator/alignment": 0.97}
        numbers |= {"gradient/all/generator/share": 0.95, "gradient/all/aggregator/share": 0.05}
        numbers |= {"role/aggregator/tokens": 5.0 if step < 11 else 60.0}
        found = alarm.look(step, numbers)
        assert [len(rows) for rows in read] == [1], "the rows of one evaluation, and no others"
        again = Alarm(run, routing)
        assert again.look(step, numbers) == found
        run.add_metrics(step, numbers)
        read.clear()
        warned.append(found)
    assert {found["warning/cliff"] for found in warned} == {0.0, 1.0}
    assert {found["warning/capture/all"] for found in warned} == {0.0, 1.0}


def test_the_alarm_warns_of_the_evaluation_before_the_first_step(tiny_run, tmp_path):
    with Run.create(tmp_path / "run", tiny_run.config, {}) as run:
        alarm = Alarm(run, Routing({"generator": "all", "critic": "all"}))
        numbers = {"episode/played": 64, "role/generator/calls": 1.0, "role/critic/calls": 0.0}
        row = {"step": 0, "split": "validation", "accuracy": 0.5, "outcomes": {}}
        run.add_evaluation({**row, "numbers": {**numbers, "role/generator/unreadable": 0.75}})
        found = alarm.evaluated({"eval/test/accuracy": 0.5})
    assert {name for name, value in found.items() if value} == {
        "eval/test/accuracy",
        "warning/unreadable_replies/generator",
        "warning/silent_role/critic",
    }


def looked_for(**table):
    known = {"signatures": {"echo": ECHO, "own": ECHO}, "findings": [], "errors": {}, "lacking": {}}
    return Diagnosis(**{**known, **table})


def test_none_is_said_only_of_what_was_looked_for():
    assert sign_lines(looked_for()) == ["signs of failure: none"]
    assert sign_lines(looked_for(lacking={"echo": "10 training steps"})) == [
        "signs of failure: none of own",
        "  not looked for, too little was recorded: echo (10 training steps)",
    ]
    assert sign_lines(looked_for(lacking=dict.fromkeys(("echo", "own"), "16 episodes")))[0] == (
        "signs of failure: not known"
    )


def test_signs_have_their_places_the_first_evidence_and_what_to_try():
    findings = [
        Finding(signature="echo", where=role, steps=(1, 9), evidence=(f"{role} 0.9", "more")) for role in ("one", "two")
    ]
    assert sign_lines(looked_for(findings=findings, lacking={"own": "20 training steps"})) == [
        "signs of failure: echo (one, two)",
        "  echo: one 0.9",
        f"    to try: {ECHO.advice}",
        "  not looked for, too little was recorded: own (20 training steps)",
    ]


def test_partial_rewards_are_told_from_right_and_wrong():
    assert partial_rewards({"a": [1.0, 0.0], "b": [1.0]}) is None
    assert partial_rewards({"a": [1.0, 0.5], "b": [0.0]}) == (
        "rewards are partial: each accuracy is a mean reward; 1 of 3 answers are right, with a reward of at least 1"
    )


OWN_SIGNATURES = """
from counterpoint.analysis.signatures.base import Finding, Signature

def find(history, limits):
    return [Finding(signature="much talk", where="team", steps=(1, history.last), evidence=("one",))]

def stumble(history, limits):
    return 1 / 0

MUCH_TALK = Signature(name="much talk", find=find, meaning="They talk much.", advice="Tell them.")
STUMBLES = Signature(name="stumbles", find=stumble, meaning="-", advice="-")
ECHO = Signature(name="echo", find=find, meaning="-", advice="-")
MISNAMED = Signature(name="misnamed", find=find, meaning="-", advice="-")

def at_least(*, steps: int):
    def find(history, limits):
        evidence = (f"{history.last} steps",)
        found = Finding(signature="long", where="team", steps=(1, history.last), evidence=evidence)
        return [found] if history.last >= steps else []
    return Signature(name="long", find=find, meaning="It is long.", advice="Stop.")
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of signatures in the current directory."""
    (tmp_path / "own_signatures.py").write_text(OWN_SIGNATURES)
    monkeypatch.chdir(tmp_path)


def with_signatures(run, path, *specs):
    shutil.copytree(run.path, path)
    recipe = tomllib.loads((path / "config.toml").read_text())
    (path / "config.toml").write_text(tomli_w.dumps({**recipe, "signatures": list(specs)}))
    return path


def test_a_signature_of_ones_own_is_looked_for_beside_the_shipped_ones(tiny_run, tmp_path, own):
    long = {"name": "own_signatures:at_least", "steps": 2}
    path = with_signatures(tiny_run, tmp_path / "run", "own_signatures:MUCH_TALK", long)
    done = diagnose(path)
    assert done.returncode == 0, done.stderr
    assert "much talk: team (steps 1 to 2)\n  evidence: one\n  meaning:  They talk much." in done.stdout
    assert "long: team (steps 1 to 2)\n  evidence: 2 steps" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(f"none found of: {', '.join(EARLY[:-1])}")
    history = history_of(Run.read(path))
    assert [finding.signature for finding in signatures.diagnose(history)] == ["much talk", "long"]


def test_a_signature_that_raises_is_an_error_that_names_it_after_the_report(tiny_run, tmp_path, own, capsys):
    path = with_signatures(tiny_run, tmp_path / "run", "own_signatures:STUMBLES", "own_signatures:MUCH_TALK")
    with pytest.raises(RunError, match=r"^signature 'stumbles' raised ZeroDivisionError: division by zero$"):
        report(path, tmp_path / "found.json")
    printed = capsys.readouterr().out
    assert "much talk: team" in printed
    assert "stumbles" not in printed, "it is not among those that were looked for in vain"
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["errors"] == ["signature 'stumbles' raised ZeroDivisionError: division by zero"]
    with pytest.raises(RunError, match="'stumbles' raised"):
        signatures.diagnose(history_of(Run.read(path)))


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("ehco", "unknown signature 'ehco'; did you mean 'echo'"),
        ("own_signatures:ECHO", "'own_signatures:ECHO' has the name 'echo', which another signature has"),
        ("own_signatures:MUCH_TALKS", "unknown name in own_signatures 'MUCH_TALKS'; did you mean 'MUCH_TALK'"),
        ("own_signatures:OWN", "unknown name in own_signatures 'OWN'"),
    ],
)
def test_a_signature_that_cannot_be_used_is_an_error_in_a_line(own, name, error):
    with pytest.raises(ConfigError, match=re.escape(error)):
        signatures.build_signatures([Spec(name=name)])


def test_a_finding_under_another_name_is_an_error(tiny_run, own):
    found = signatures.examine(history_of(tiny_run), extra=[Spec(name="own_signatures:MISNAMED")])
    assert list(found.errors) == ["misnamed"]
    assert "must return findings of 'misnamed'" in found.errors["misnamed"]


def test_a_run_that_is_warned_ends_with_the_weights_of_its_peak(tmp_path, monkeypatch):
    monkeypatch.setattr(Alarm, "look", lambda self, step, numbers: {"warning/cliff": float(step == 3)})
    run = micro_run(
        tmp_path / "run", run={"steps": 5, "save_every": 1, "threads": 1}, interventions=[{"name": "stop_at_cliff"}]
    )
    assert run.checkpoints() == [0, 1, 2, 3]
    digests = [run.checkpoint_state(step)["digests"] for step in run.checkpoints()]
    before = [row for row in run.evaluation_rows() if row["step"] < 3]
    accuracy = [row["accuracy"] for row in before if row["split"] == "validation"]
    means = [
        sum(accuracy[max(0, place - 1) : place + 2]) / len(accuracy[max(0, place - 1) : place + 2])
        for place in range(3)
    ]
    assert digests[3] == digests[means.index(max(means))]
    assert digests[2] != digests[1] != digests[0]
    assert run.checkpoint_state(3)["stopped"] == "validation accuracy fell off its peak"
    assert {row["rolled_back"] for row in run.evaluation_rows() if row["step"] == 3} == {True}
    at_peak = {row["split"]: row["outcomes"] for row in before if row["step"] == means.index(max(means))}
    assert {row["split"]: row["outcomes"] for row in run.evaluation_rows() if row["step"] == 3} == at_peak
    with Run.open(run.path) as again:
        asyncio.run(train(again))
    assert again.checkpoints() == [0, 1, 2, 3]


def test_the_peak_is_the_best_checkpoint_that_was_evaluated(tiny_run, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(tiny_run.path, path)
    rows = [
        {"step": step, "split": "validation", "accuracy": accuracy}
        for step, accuracy in ((0, 0.1), (1, 0.9), (2, 0.3), (3, 0.9))
    ]
    (path / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert Run.read(path).checkpoints() == [0, 2]
    assert peak_of(Run.read(path)) == 2  # smoothed: 0.5 at 0, 0.7 at 2; 3 has no checkpoint


def test_the_peak_that_a_run_returns_to_is_the_peak_that_its_summary_names(tiny_run, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(tiny_run.path, path)
    accuracies = (0.4, 0.4, 0.5, 0.4, 0.3, 0.5)  # smoothed, the evaluations of steps 1 and 2 are equal
    rows = [
        {"step": step, "split": split, "accuracy": accuracy, "outcomes": {"a": [accuracy]}, "roles": {}, "numbers": {}}
        for step, accuracy in enumerate(accuracies)
        for split in ("validation", "test")
    ]
    (path / "evaluations.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for step in range(1, 6):
        (path / "checkpoints" / f"{step:06d}").mkdir(exist_ok=True)
        (path / "checkpoints" / f"{step:06d}" / "state.json").write_text("{}")
    run = Run.read(path)
    assert peak_of(run) == summarize(run.evaluation_rows()).peak_step == 2


def test_a_recipe_with_a_signature_that_does_not_exist_is_refused_before_the_run_begins(tiny_run):
    config = tiny_run.config.model_copy(update={"signatures": [Spec(name="rubber stmap")]})
    with pytest.raises(ConfigError, match="unknown signature 'rubber stmap'; did you mean 'rubber stamp'"):
        plan(config)
