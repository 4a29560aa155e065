"""Whatever can be found wrong without an engine is found before torch and transformers are imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FLOW = """
from counterpoint import Problem, Role, workflow


@workflow
async def flow(problem: Problem, *, solver: Role) -> str | None:
    return (await solver(problem.text)).answers("1")
"""
TRAIN = ("train", "voting_arithmetic")
RUN = "RUN"
"""In the arguments below: the path of a finished run."""
WRONG = [
    (("train", "voting_aritmetic"), "unknown recipe 'voting_aritmetic'; did you mean 'voting_arithmetic'?"),
    (("train", "mine.tom"), "recipe 'mine.tom': there is no such file; did you mean 'mine.toml'?"),
    (("train", "nowhere/run.toml"), "recipe 'nowhere/run.toml': there is no such file"),
    (("train", "folder"), "the folder folder has no run.toml; it has: folder/other.toml"),
    (("train", "run.seed=1"), "'run.seed=1' stands where the recipe is expected"),
    ((*TRAIN, "--out", RUN), "already holds a run"),
    ((*TRAIN, "--all-keys"), "--all-keys goes with --dry-run"),
    ((*TRAIN, "learning_rate=1e-3"), "unknown key 'learning_rate'; did you mean 'policies.learning_rate'?"),
    ((*TRAIN, "run.steps=1O"), "run.steps = '1O': input should be a valid integer"),
    ((*TRAIN, "policies={a=1"), "override 'policies={a=1': the value is not TOML: "),
    ((*TRAIN, "policies.trainable=True"), "override 'policies.trainable=True': TOML writes true"),
    ((*TRAIN, "run.steps"), "override 'run.steps' must read section.key=value"),
    ((*TRAIN, "preset=qwen3"), "unknown preset 'qwen3'"),
    ((*TRAIN, "algorithm=grop"), "unknown algorithm 'grop'; did you mean 'grpo'?"),
    ((*TRAIN, "workflow=votting"), "unknown workflow 'votting'; did you mean 'voting'?"),
    ((*TRAIN, "workflow.votes=0"), "workflow.voting.votes = 0: input should be greater than or equal to 1"),
    ((*TRAIN, "workflow=broken:flow"), "module 'broken' cannot be imported: SyntaxError: "),
    ((*TRAIN, "workflow=mine:flw"), "unknown name in mine 'flw'; did you mean 'flow'?"),
    ((*TRAIN, "task=arithmetik"), "unknown task 'arithmetik'; did you mean 'arithmetic'?"),
    ((*TRAIN, "task.operands=1"), "task.arithmetic.operands = 1: input should be greater than or equal to 2"),
    ((*TRAIN, "task={name='questions', path='none.jsonl'}"), "task.path = 'none.jsonl': there is no such file"),
    ((*TRAIN, "task={name='verifiers', env='sums'}"), "task 'verifiers' needs verifiers: `pip install"),
    ((*TRAIN, "rollout.tasks_per_step=5000"), "rollout.tasks_per_step = 5000: the training split has only"),
    ((*TRAIN, "--seeds", "0,x"), "'x' is no seed"),
    ((*TRAIN, "--seeds", "0", "run.seed=1"), "run.seed and --seeds exclude each other"),
    ((*TRAIN, "--jobs", "2"), "--jobs goes with --seeds"),
    (("compare", "nowhere"), "nowhere is not a run, a study or a folder of collected files"),
    (("compare", RUN, "--by", "sharing"), "--by sharing: "),
    (("compare", RUN, "--against", "nowhere"), "nowhere is not a run, a study or a folder of collected files"),
    (("compare", RUN, "--out", "x.gif"), "--out x.gif: the extension must be one of"),
    (("report", "nowhere"), "nowhere is not a run, a study or a folder of collected files"),
    (("report", RUN, "--out", "."), ". cannot be written: it is a folder; name a file"),
    (("plot", "nowhere", "--out", "x.svg"), "nowhere is not a run directory"),
    (("plot", "nowhere", "--out", "x.gif"), "--out x.gif: the extension must be one of"),
    (("table", "nowhere"), "nowhere is not a run directory"),
    (("table", "nowhere", "--format", "html"), "unknown format 'html'"),
    ((*TRAIN, "judge=tekst"), "unknown judge 'tekst'; did you mean 'text'?"),
    ((*TRAIN, "sandbox=fork"), "unknown sandbox 'fork'"),
    ((*TRAIN, "sampler=nope"), "unknown sampler 'nope'; allowed: in_process"),
    ((*TRAIN, "sampler.max_row=3"), "unknown key in [sampler.in_process] 'max_row'; did you mean 'max_rows'?"),
    ((*TRAIN, "runtime=nope"), "unknown runtime 'nope'; allowed: local"),
    ((*TRAIN, 'track=["wand"]'), "unknown tracker 'wand'; did you mean 'wandb'?"),
    ((*TRAIN, "track=wandb"), "track = 'wandb': input should be a valid list, such as [\"wandb\"]"),
    ((*TRAIN, "policies.sharing=shred"), "unknown policies.sharing 'shred'; did you mean 'shared'?"),
    ((*TRAIN, "policies.sharing={generatr='a'}"), "policies.sharing: unknown role 'generatr'"),
    ((*TRAIN, "policy.generatr.rank=8"), "policy: unknown policy 'generatr'; did you mean 'generator'?"),
    ((*TRAIN, "policies.adapter=nowhere"), "policies.adapter = 'nowhere': there is no such file or folder; looked in "),
    ((*TRAIN, "model.path=micro-medum"), "there is no such model; did you mean 'micro-medium'?"),
    ((*TRAIN, "model.path=folder/small.gguf"), "there is no such file"),
    ((*TRAIN, "model.path=package:nowhere/x.gguf"), "no package 'nowhere' is installed"),
    ((*TRAIN, "model.device=gpu"), "model.device = 'gpu' cannot be used: there is no such device; allowed: cpu, cuda"),
    ((*TRAIN, "algorithm.loss.hgih=0.3"), "unknown key in [algorithm.loss] 'hgih'; did you mean 'high'?"),
    ((*TRAIN, "algorithm.loss.low=2.0"), "algorithm.loss.low = 2.0: input should be less than 1"),
    ((*TRAIN, "algorithm.kl=k3"), "algorithm.kl.weight is required"),
    ((*TRAIN, "algorithm.correction={name='truncated', cap=0.5}"), "algorithm.correction.cap = 0.5: "),
    ((*TRAIN, "algorithm.advantage=grop"), "unknown advantage 'grop'; did you mean 'grpo'?"),
    ((*TRAIN, "algorithm.credit=own"), "allowed with it: role, role_slot"),
    ((*TRAIN, "diagnostics=['role_gradient']"), "unknown diagnostic 'role_gradient'"),
    ((*TRAIN, "diagnostics=[{name='persistence', memory=2.0}]"), "diagnostics.persistence.memory = 2.0: "),
    ((*TRAIN, "interventions=['balanc']"), "unknown intervention 'balanc'; did you mean 'balance'?"),
    ((*TRAIN, "interventions=[{name='damp_coherence', memory=2.0}]"), "memory = 2.0: "),
    ((*TRAIN, "signatures=['clif']"), "unknown signature 'clif'; did you mean 'cliff'?"),
    (("resume", "nowhere"), "nowhere is not a run directory: there is nothing of that name"),
    (("resume", "folder"), "folder is not a run directory: it has no config.toml and run.json"),
    (("resume", "mine.toml"), "mine.toml is not a run directory: it is a file"),
    (("evaluate", "runs/nowhere"), "'runs/nowhere' is neither a run nor a model"),
    (("evaluate", "micro-medum"), "did you mean 'micro-medium'?"),
    (("evaluate", "micro-medium", "--step", "3"), "a step and controls need a run directory"),
    (("evaluate", "micro-medium", "workflow=singel"), "unknown workflow 'singel'; did you mean 'single'?"),
    (("evaluate", "micro-medium", "model.device=gpu"), "model.device = 'gpu' cannot be used"),
    (("evaluate", RUN, "--split", "tset"), "unknown split 'tset'; did you mean 'test'?"),
    (("evaluate", RUN, "--step", "7"), "has no checkpoint of step 7; there are: 0"),
    (("evaluate", RUN, "--swap", "generator,agregator"), "unknown role 'agregator'; did you mean 'aggregator'?"),
    (("evaluate", RUN, "--swap", "generator"), "--swap 'generator' must name two roles: ROLE,ROLE"),
    (("evaluate", RUN, "--ablate", "nobody"), "unknown role 'nobody'"),
    (("evaluate", RUN, "--ablate", "generator", "--solo"), "at most one control is allowed"),
    (("evaluate", RUN, "--transfer", "nowhere"), "nowhere is not a run directory"),
    (("evaluate", RUN, "--against", "nowhere"), "nowhere is not a run directory"),
    (("evaluate", RUN, "--out", "folder"), "--out folder cannot be written: it is a folder"),
    (("evaluate", RUN, "task.operands=1"), "task.arithmetic.operands = 1: "),
    (("evaluate", RUN, "sampler=nope"), "unknown sampler 'nope'"),
    (("export", "nowhere", "--policy", "x", "--out", "y"), "nowhere is not a run directory"),
    (("export", RUN, "--policy", "sahred", "--out", "y"), "unknown policy 'sahred'; did you mean 'shared'?"),
    (("export", RUN, "--policy", "shared", "--out", "y", "--step", "9"), "has no checkpoint of step 9"),
    (("export", RUN, "--policy", "shared", "--out", "folder"), "folder exists and is not empty"),
    (("serve", "nowhere"), "nowhere is not a run directory"),
    (("serve", RUN, "--step", "9"), "has no checkpoint of step 9"),
    (("serve", RUN, "rollout.max_token=9"), "unknown key in [rollout] 'max_token'; did you mean 'max_tokens'?"),
    (("serve", RUN, "sampler=nope"), "unknown sampler 'nope'"),
    (("show", "nowhere"), "nowhere is not a run directory"),
    (("show", RUN, "--step", "99"), "has no episodes of step 99"),
    (("show", RUN, "--outcome", "rihgt"), "unknown --outcome 'rihgt'; did you mean 'right'?"),
    (("diagnose", "nowhere"), "nowhere is not a run directory"),
    (("diagnose", RUN, "--out", "folder"), "--out folder cannot be written"),
    (("study", "quik"), "did you mean 'quick'?"),
    (("study", "quick", "--only", "rate=x9"), "unknown label of axis 'rate' 'x9'"),
    (("study", "quick", "--seeds", "0;1"), "--seeds 0;1: '0;1' is no seed"),
    (("study", "quick", "--gpus", "0,,1"), "--gpus '0,,1': name them with commas"),
    (("study", "quick", "--jobs", "3", "--gpus", "0,1"), "--jobs 3: one job per GPU, and --gpus names 2"),
    (("study", "quick", "--retry", "--restart"), "give one of them"),
    (("study", "quick", "--status", "--dry-run"), "--dry-run and --status: give one of them"),
    (("study", "quick", "--cell", "voting-shared-x1-s9"), "unknown cell of quick 'voting-shared-x1-s9'"),
    (("study", "quick", "--slurm", "nowhere.toml"), "--slurm nowhere.toml: "),
    (("study", "quick", "--out", "mine.toml"), "mine.toml cannot be written to: mine.toml is a file"),
    (("runs", "nowhere"), "nowhere is not a folder"),
    (("view", "nowhere"), "nowhere is not a folder"),
    (("view", "folder", "--token", "short"), "--token: at least 16 printable ASCII characters"),
    (("view", "folder", "--bundle", "mine.toml"), "--bundle mine.toml is there, and no bundle"),
    (("advise",), "advise needs a recipe, or finished runs with --from"),
    (("advise", "voting_aritmetic"), "unknown recipe 'voting_aritmetic'; did you mean 'voting_arithmetic'?"),
    (("advise", "voting_arithmetic", "--minutes", "0"), "--minutes 0: a budget is a number of minutes above 0"),
    (("advise", "voting_arithmetic", "--arms", "shared"), "advice compares at least 2 arms: there is shared"),
    (("advise", "--from", "nowhere", "elsewhere"), "nowhere is neither a run nor a folder of runs"),
    (("advise", "--from", "nowhere", "--more"), "--from answers from finished runs: --arms, --steps, --more and"),
    (("advise", "voting_arithmetic", "--out", "folder"), "--out folder cannot be written: it is a folder"),
    (("explain", "policies.learning_rat"), "did you mean 'policies.learning_rate'?"),
    (("init", "workflow", "json"), "'json' is the name of a module of Python's standard library"),
]
ASK = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from counterpoint.cli.main import main

told = []
for arguments in json.load(sys.stdin):
    sys.argv, error, code = ["counterpoint", *arguments], io.StringIO(), None
    with redirect_stdout(io.StringIO()), redirect_stderr(error):
        try:
            main()
        except SystemExit as end:
            code = end.code
    engines = [name for name in ("torch", "transformers", "peft") if name in sys.modules]
    told.append([code, error.getvalue(), engines])
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory, tiny_run):
    """Arguments -> exit status, standard error and imported engines of the command line, all asked in one process."""
    folder = tmp_path_factory.mktemp("light")
    (folder / "folder").mkdir()
    (folder / "folder" / "other.toml").write_text("")
    (folder / "mine.toml").write_text("")
    (folder / "mine.py").write_text(FLOW)
    (folder / "broken.py").write_text("def f(:\n")
    asked = [[str(tiny_run.path) if word is RUN else word for word in words] for words, _ in WRONG]
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps(asked),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    return {words: answer for (words, _), answer in zip(WRONG, answers, strict=True)}


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(words) for words, _ in WRONG])
def test_a_wrong_argument_is_answered_in_one_line_without_an_engine(told, words, message):
    code, error, engines = told[words]
    assert message in error
    assert (code, engines) == (2, [])
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_every_command_is_asked_something_wrong():
    import typer

    from counterpoint.cli.main import app

    commands = {name for name, command in typer.main.get_command(app).commands.items() if name != "init"}
    asked = {words[0] for words, _ in WRONG}
    assert commands - asked == {"recipes", "doctor"}  # they take nothing that could be wrong


def test_importing_what_a_command_is_made_of_imports_no_engine():
    modules = ["api", "cli.train", "cli.evaluate", "cli.serve", "cli.export", "plan.check", "plan.plan", "reference"]
    code = f"import sys, {', '.join(f'counterpoint.{name}' for name in modules)}\n"
    code += "print([name for name in ('torch', 'transformers', 'peft') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_device_that_this_machine_lacks_is_found_by_a_dry_run_before_transformers(tmp_path):
    code = """
import sys
from counterpoint.cli.main import main
sys.argv = ["counterpoint", "train", "voting_arithmetic", "--dry-run", "model.device=cuda:99"]
try:
    main()
except SystemExit as end:
    print(end.code, "transformers" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "2 False"
    assert "model.device = 'cuda:99' cannot be used: torch finds no such device here; there are: cpu" in done.stderr
    assert list(Path(tmp_path).iterdir()) == []
