import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherface_core import doctor
from featherface_core.doctor import checks as imports
from featherface_core.doctor.checks import DoctorOptions, Imported
from featherface_core.errors import ConfigError, DataError
from featherface_core.training.monitor import TrainingMonitor

RUN_CHECKS = {check.name: check for check in doctor.CHECKS_ON_REQUEST if check.group == "run"}


@pytest.fixture
def imports_well(monkeypatch):
    monkeypatch.setattr(imports, "try_import", lambda module: Imported(module))


def healthy(epoch):
    """A record of a run that goes well."""
    return {
        "epoch": epoch,
        "train_loss": 10 / epoch,
        "val_map": 0.9 - 0.5 / epoch,
        "learning_rate": 1e-3,
        "alpha": None,
        "skipped_steps": 0,
        "grad_norm_current": 1.0,
        "grad_norm_max": 3.0,
    }


@dataclass
class Run:
    """The folder of a run, and what the doctor finds in it."""

    folder: Path

    def write(self, epochs=12, config=None, report=None, **series):
        """series: by key a list (from epoch 1), or a function of the epoch."""
        lines = []
        for epoch in range(1, epochs + 1):
            record = healthy(epoch)
            for key, values in series.items():
                record[key] = values(epoch) if callable(values) else values[epoch - 1]
            lines.append(json.dumps(record))
        self.folder.mkdir(exist_ok=True)
        (self.folder / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))
        if config is not None:
            (self.folder / "config.yaml").write_text(config)
        if report is not None:
            (self.folder / "report.json").write_text(report)
        return self

    def find(self, name):
        finding = RUN_CHECKS[name].run(DoctorOptions(run=self.folder))
        assert (finding.group, finding.check) == ("run", name)
        if finding.verdict in ("warn", "fail"):
            assert finding.fix
        return finding


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path / "run")


CONFIG = "task: {task}\nrecipe:\n  epochs: {epochs}\n  distill:\n    alpha: [0.8, 0.5]\n    strategy: linear\n"


@pytest.mark.usefixtures("imports_well")
def test_a_healthy_finished_run_has_no_complaint(run):
    run.write(config=CONFIG.format(task="train", epochs=12), report="{}")
    report = doctor.run_doctor(only=["run"], run=run.folder)
    assert [f.check for f in report.findings] == list(RUN_CHECKS)
    assert {f.verdict for f in report.findings if f.check != "alpha"} == {"ok"}
    assert run.find("alpha").verdict == "skip"


@pytest.mark.usefixtures("imports_well")
def test_what_the_monitor_writes_the_doctor_reads(run):
    monitor = TrainingMonitor(path=run.folder, epochs=8, listener=lambda line: None)
    for epoch in range(1, 9):
        monitor.check_step(1.0, 50.0, epoch)
        if epoch == 5:
            monitor.non_finite()
        monitor.log_epoch_metrics(
            epoch=epoch,
            train_loss=float("nan") if epoch == 6 else 10 / epoch,
            learning_rate=0.0 if epoch == 2 else 1e-3,
            epoch_time=1.0,
            val_map=0.5,
            alpha=0.6,
            grad_stats={"grad_norm_current": 50.0, "grad_norm_max": 50.0},
        )
    assert run.find("gradients").found.startswith("exploding")
    assert "not a number in 1 epoch (epoch 6)" in run.find("non-finite").found
    assert "1 step skipped" in run.find("non-finite").found
    assert "1 epoch (epoch 2)" in run.find("learning-rate").found
    assert run.find("alpha").verdict == "ok"  # there is no config.yaml that asks for more


# the files


@pytest.mark.parametrize("content", [None, b"", b"\n\n", b'{"epoch": 1', b"\xff\xfe\n", b"[1, 2]\n"])
def test_missing_or_ruined_metrics_are_one_failure(run, content):
    run.folder.mkdir()
    if content is not None:
        (run.folder / "metrics.jsonl").write_bytes(content)
    findings = {name: run.find(name) for name in RUN_CHECKS}
    assert findings.pop("metrics").verdict == "fail"
    assert {f.verdict for f in findings.values()} == {"skip"}
    (run.folder / "last.pt").write_bytes(b"")
    assert "--resume" in run.find("metrics").fix


def test_metrics_that_cannot_be_read_are_one_failure(run):
    run.folder.mkdir()
    (run.folder / "metrics.jsonl").mkdir()
    with pytest.raises(DataError, match="cannot read"):  # which the doctor shows as a failure with its hint
        run.find("metrics")
    assert run.find("gradients").verdict == "skip"


def test_a_folder_that_does_not_exist(run):
    findings = {name: run.find(name) for name in RUN_CHECKS}
    assert findings.pop("metrics").found == f"{run.folder} does not exist"
    assert {f.verdict for f in findings.values()} == {"skip"}


def test_half_a_line_gaps_and_doubles_are_named(run):
    path = run.write(config="").folder / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], *lines[5:], lines[7], lines[0][:20]]))
    finding = run.find("metrics")
    assert finding.verdict == "warn"
    assert finding.found == (
        "9 epochs in metrics.jsonl; 1 line damaged (line 11); 3 epochs missing (from epoch 3); "
        "epochs are there twice or out of order"
    )
    assert f"featherface train --resume {run.folder}" in finding.fix


def test_an_absurd_epoch_number_does_not_hang(run):
    path = run.write(2).folder / "metrics.jsonl"
    path.write_text(path.read_text() + json.dumps({"epoch": 10**15, "train_loss": 10**400}) + "\n")
    assert f"{10**15 - 3:,} epochs missing" in run.find("metrics").found
    assert all(run.find(name) for name in RUN_CHECKS)


@pytest.mark.usefixtures("imports_well")
@pytest.mark.parametrize("content", ["recipe: [", "just words", "\0"])
def test_a_config_that_is_none_is_told_and_the_rest_goes_on(run, content):
    run.write(config=content)
    findings = {f.check: f for f in doctor.run_doctor(only=["run"], run=run.folder).findings}
    assert findings["config"].verdict == "fail"
    assert "config.yaml" in findings["config"].found
    assert findings["gradients"].verdict == findings["falling"].verdict == "ok"


def test_a_run_without_config_cannot_be_resumed(run):
    run.write()
    assert run.find("config").verdict == "skip"
    (run.folder / "last.pt").write_bytes(b"")
    assert run.find("config").verdict == "warn"


@pytest.mark.parametrize(("task", "command"), [("train", "train"), ("distill", "distill"), ("other", "train")])
def test_an_unfinished_run_says_how_to_go_on(tmp_path, task, command):
    run = Run(tmp_path / "my run").write(7, config=CONFIG.format(task=task, epochs=40))
    finding = run.find("finished")
    assert finding.verdict == "warn"
    assert "7 of 40 epochs" in finding.found
    assert finding.fix == f"if it is not running any more: featherface {command} --resume '{run.folder}'"


def test_a_damaged_report_is_not_a_finished_run(run):
    assert run.write(report="{").find("finished").verdict == "warn"
    assert run.write(report="[]").find("finished").verdict == "warn"
    assert run.write(report="{}").find("finished").verdict == "ok"


# the epochs


@pytest.mark.parametrize(
    ("norms", "verdict", "word"),
    [
        ([3.0] * 12, "ok", "largest norm"),
        ([50.0] * 2 + [3.0] * 10, "ok", "largest norm"),  # high at first is no illness
        ([3.0] * 9 + [50.0] * 3, "warn", "exploding"),
        ([3.0] * 11 + [1e-7], "fail", "vanishing"),
        ([None] * 3 + [3.0] * 9, "ok", "largest norm"),
    ],
)
def test_gradients(run, norms, verdict, word):
    finding = run.write(grad_norm_max=norms).find("gradients")
    assert finding.verdict == verdict
    assert word in finding.found
    if verdict == "warn":
        assert "3 of 12 epochs, at most 50" in finding.found
        assert "--gradient-clip-norm" in finding.fix
    if verdict == "fail":
        assert "epoch 12" in finding.found
        assert "--lr" in finding.fix


def test_gradients_without_a_maximum_go_by_the_last_norm(run):
    assert "exploding" in run.write(grad_norm_max=[None] * 12, grad_norm_current=[20.0] * 12).find("gradients").found
    none = run.write(grad_norm_max=[None] * 12, grad_norm_current=[None] * 12).find("gradients")
    assert none.verdict == "skip"


def test_non_finite(run):
    assert run.write().find("non-finite").verdict == "ok"
    skipped = run.write(skipped_steps=[0, 2, 0, 1] + [0] * 8).find("non-finite")
    assert skipped.verdict == "warn"
    assert skipped.found == "3 steps skipped for NaN or infinity in 2 epochs (epoch 2, 4)"
    bad = run.write(train_loss=[1.0] * 6 + [None] * 6).find("non-finite")
    assert bad.verdict == "fail"
    assert "6 epochs (epoch 7, 8, 9 and 3 more)" in bad.found
    assert "--lr" in bad.fix
    assert "--gradient-clip-norm" in bad.fix


def test_a_learning_rate_of_zero(run):
    finding = run.write(learning_rate=[1e-3, 0.0] + [1e-3] * 10).find("learning-rate")
    assert finding.verdict == "fail"
    assert "epoch 2" in finding.found
    assert "--lr" in finding.fix
    assert run.write(learning_rate=[1e-3] * 11 + [0.0]).find("learning-rate").verdict == "fail"
    at_the_end = run.write(learning_rate=[1e-3] * 11 + [0.0], config=CONFIG.format(task="train", epochs=12))
    assert at_the_end.find("learning-rate").verdict == "ok"
    assert run.write(learning_rate=[None] * 12).find("learning-rate").verdict == "skip"


def test_loss_spikes(run):
    assert run.write(5).find("loss-spikes").verdict == "skip"
    assert run.write().find("loss-spikes").verdict == "ok"
    spiked = run.write(train_loss=[1.0] * 8 + [3.5] + [1.0] * 3).find("loss-spikes")
    assert spiked.verdict == "warn"
    assert spiked.found == "1 epoch (epoch 9): up to 3.5 times the five epochs before"
    assert "--gradient-clip-norm" in spiked.fix
    assert run.write(train_loss=[1.0] * 8 + [2.0] + [1.0] * 3).find("loss-spikes").verdict == "ok"
    # the first epochs have no five before them
    assert run.write(train_loss=[1.0, 1.0, 9.0, 9.0] + [1.0] * 8).find("loss-spikes").verdict == "ok"


def test_a_loss_that_does_not_fall(run):
    assert run.write(5).find("falling").verdict == "skip"
    assert run.write().find("falling").verdict == "ok"
    for losses in ([2.0] * 12, list(range(1, 13))):
        finding = run.write(train_loss=losses).find("falling")
        assert finding.verdict == "fail"
        assert "--lr" in finding.fix
    assert run.write(train_loss=[2.0] * 11 + [1.0]).find("falling").verdict == "fail"  # one epoch is no direction


def test_overfitting(run):
    scores = [0.5, 0.6, 0.7, 0.8, 0.8, 0.78, 0.7, 0.6, 0.6, 0.5, 0.5, 0.5]
    finding = run.write(val_map=scores).find("overfitting")
    assert finding.verdict == "warn"
    assert finding.found.startswith(
        "best AP 0.800 at epoch 4, 0.500 in the last 3 validations, while the training loss"
    )
    assert finding.found.endswith(": overfitting")
    assert "--early-stopping-patience" in finding.fix
    rising = run.write(val_map=scores, train_loss=lambda epoch: epoch).find("overfitting")
    assert rising.verdict == "warn"
    assert not rising.found.endswith(": overfitting")
    assert "--lr" in rising.fix
    assert run.write(val_map=[0.5, 0.8] + [0.79] * 10).find("overfitting").verdict == "ok"
    assert run.write(val_map=[0.5, 0.8] + [0.2] + [0.79] * 9).find("overfitting").verdict == "ok"  # one bad validation
    late = [0.5] * 10 + [0.8, 0.5]  # too few validations since the best to tell
    assert run.write(val_map=late).find("overfitting").verdict == "ok"
    assert run.write(val_map=[None] * 9 + [0.5] * 3).find("overfitting").verdict == "skip"


DISTILL = CONFIG.format(task="distill", epochs=12)


@pytest.mark.parametrize(
    ("alphas", "config", "verdict"),
    [
        ([0.6] * 12, DISTILL, "fail"),
        ([0.8 - 0.02 * i for i in range(12)], DISTILL, "ok"),
        ([0.6] * 12, None, "ok"),  # what was asked for is not known
        ([0.6] + [None] * 11, DISTILL, "ok"),  # one epoch cannot move
        (
            [0.6] * 12,
            DISTILL.replace("[0.8, 0.5]", "[0.6, 0.6]").replace("strategy", "late_cap: false\n    strategy"),
            "ok",
        ),
        ([0.6] * 12, DISTILL.replace("[0.8, 0.5]", '"0.8:0.5"'), "fail"),
        ([0.6] * 12, DISTILL.replace("[0.8, 0.5]", "abc"), "ok"),
        ([0.6] * 12, "epochs: 12\ndistill: {alpha: [0.8, 0.5]}", "fail"),
        # 0.95 to 0.92 over twelve epochs stays at the upper bound, until the last two are capped
        ([0.9] * 10 + [None] * 2, DISTILL.replace("[0.8, 0.5]", "[0.95, 0.92]"), "ok"),
        (
            [0.9] * 10 + [None] * 2,
            DISTILL.replace("[0.8, 0.5]", "[0.95, 0.92]").replace("strategy", "bounds: false\n    strategy"),
            "fail",
        ),
        ([None] * 12, DISTILL, "skip"),
    ],
)
def test_alpha(run, alphas, config, verdict):
    finding = run.write(alpha=alphas, config=config).find("alpha")
    assert finding.verdict == verdict
    if verdict == "fail":
        assert "0.8 to 0.4" in finding.found or "0.95 to 0.92" in finding.found
        assert "--alpha" in finding.fix


numbers = st.one_of(st.none(), st.floats(), st.integers(), st.booleans(), st.text(max_size=3))
records = st.dictionaries(st.sampled_from([*healthy(1), "alpha"]), numbers).map(
    lambda r: {**r, "epoch": r.get("epoch")}
)


@given(st.lists(st.one_of(records, st.builds(healthy, st.integers(1, 30))), max_size=20))
def test_no_metrics_crash_a_check(tmp_path_factory, lines):
    folder = tmp_path_factory.mktemp("run")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = Run(folder)
    assert all(run.find(name).found for name in RUN_CHECKS)


# as part of the doctor


def test_without_their_folders_the_groups_are_no_part_of_the_report():
    assert {"data", "run"}.isdisjoint(check.group for check in doctor.CHECKS)
    names = [check.name for check in (*doctor.CHECKS, *doctor.CHECKS_ON_REQUEST)]
    assert len(names) == len(set(names))
    assert {check.group for check in doctor.CHECKS_ON_REQUEST} == {"data", "run"}


@pytest.mark.parametrize(("name", "option"), [("run", "--run"), ("alpha", "--run"), ("data", "--data")])
def test_asking_for_a_check_without_its_folder_says_which_option(name, option):
    with pytest.raises(ConfigError, match=f"--only {name} ") as caught:
        doctor.run_doctor(only=[name])
    assert option in caught.value.hint


def test_a_folder_that_would_go_unused_is_refused(run):
    for option in ("data", "run"):
        with pytest.raises(ConfigError, match=f"--{option} "):
            doctor.run_doctor(only=["python"], **{option: run.folder})


@pytest.mark.usefixtures("imports_well")
def test_one_check_of_a_run_can_be_asked_for_and_left_out(run):
    run.write()
    assert [f.check for f in doctor.run_doctor(only=["alpha"], run=run.folder).findings] == ["alpha"]
    checked = doctor.run_doctor(only=["run", "python"], skip=["alpha"], run=run.folder).findings
    assert [f.check for f in checked] == ["python", *(name for name in RUN_CHECKS if name != "alpha")]


def test_the_command_looks_into_a_run_without_torch(run):
    run.write(config=CONFIG.format(task="train", epochs=12), learning_rate=[0.0] * 12)
    code = "import sys; from featherface_cli.app import main\ntry: main()\nfinally: print('torch' in sys.modules)"
    arguments = ["doctor", "--run", str(run.folder), "--only", "run", "--json"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    printed, torch_was_imported = done.stdout.rstrip().rsplit("\n", 1)
    findings = {f["check"]: f for f in json.loads(printed)["findings"]}
    assert torch_was_imported == "False"
    assert findings["learning-rate"]["verdict"] == "fail"
    assert findings["finished"]["verdict"] == "warn"


# data


def write_data(folder, faces):
    """A label.txt of 64-pixel pictures; faces: name to lines."""
    import cv2
    import numpy as np

    (folder / "images").mkdir(parents=True)
    lines = []
    for number, (name, rows) in enumerate(faces.items()):
        assert cv2.imwrite(str(folder / "images" / name), np.full((64, 64, 3), number, np.uint8))
        lines += [f"# {name}", *rows]
    (folder / "label.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.usefixtures("imports_well")
def test_good_data_has_one_finding(tmp_path):
    folder = write_data(tmp_path / "faces", {"a.png": ["8 8 20 24 " + face_landmarks()], "b.png": []})
    (finding,) = doctor.run_doctor(only=["data"], data=folder).findings
    assert finding.verdict == "ok"
    assert "retinaface, 2 pictures, 1 face, 1 with landmarks; 2 pictures opened in " in finding.found


def face_landmarks():
    points = ((13, 16), (23, 16), (18, 21), (14, 27), (22, 27))
    return " ".join(f"{x} {y} 0.0" for x, y in points) + " 1.0"


@pytest.mark.usefixtures("imports_well")
def test_each_kind_of_problem_in_data_is_a_finding_with_its_fix(tmp_path):
    outside = [f"{100 + i} 100 20 20" for i in range(5)]
    folder = write_data(tmp_path / "faces", {"a.png": ["8 8 20 24", "40 40 2 2", *outside], "gone.png": ["8 8 20 24"]})
    (folder / "images" / "gone.png").unlink()
    summary, *problems = doctor.run_doctor(only=["data"], data=folder).findings
    assert summary.verdict == "ok"
    by_kind = {f.found.partition(" x ")[0]: f for f in problems}
    assert by_kind["missing-picture"].verdict == by_kind["box-outside"].verdict == "fail"
    assert by_kind["tiny-face"].verdict == "warn"
    assert "x 5: " in by_kind["box-outside"].found
    assert by_kind["box-outside"].found.count("a.png") == 2  # examples, not all
    assert all(f.fix for f in problems)


@pytest.mark.usefixtures("imports_well")
def test_a_folder_without_data_is_a_failure_with_a_hint(tmp_path):
    (finding,) = doctor.run_doctor(only=["data"], data=tmp_path / "none").findings
    assert finding.verdict == "fail"
    assert "crashed" not in finding.found
    assert finding.fix
