"""The command line as a whole: help, what it loads, usage errors, pipes, and how it ends."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import SCRIPT, Run, assert_refused

COMMANDS = ("params", "detect", "train", "distill", "export", "bench", "doctor", "data")
HEAVY = ("torch", "cv2", "onnx", "onnxruntime", "onnxsim")


# --- start and help -----------------------------------------------------------------------------------------------------


def test_help_is_fast_and_light(tmp_path: Path) -> None:
    subprocess.run([SCRIPT, "--help"], cwd=tmp_path, capture_output=True, check=True)  # warm the disk's cache
    seconds = []
    for _ in range(3):
        child = subprocess.Popen([SCRIPT, "--help"], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        out = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        seconds.append(usage.ru_utime + usage.ru_stime)
    assert all(command in out for command in COMMANDS)
    assert min(seconds) < 0.8


@pytest.mark.parametrize(
    "statement",
    [
        "import featherface_core, featherface_core.doctor, featherface_core.results",
        "import sys; from featherface_cli.app import main; sys.argv = ['featherface', '--help']; main()",
        "import sys; from featherface_cli.app import main; sys.argv = ['featherface', 'params', '--search']; main()",
        "import sys; from featherface_cli.app import main; sys.argv = ['featherface', 'params', '-m', 'v9']; main()",
    ],
)
def test_loads_nothing_heavy(statement: str) -> None:
    program = f"try:\n    {statement}\nexcept SystemExit: pass\nimport sys; print('LOADED', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("LOADED")[2].split())
    assert not loaded & set(HEAVY)


def test_onnx_detection_loads_no_torch() -> None:
    program = "import featherface_core.detect.detect_files, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"torch", "onnx", "onnxruntime", "onnxsim"}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(run: Run, command: str) -> None:
    ran = run(command, "--help")
    assert ran.code == 0
    assert f"featherface {command}" in ran.out.partition("Examples:")[2]


def test_every_option_has_a_description() -> None:
    import typer

    from featherface_cli.app import app

    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        for parameter in command.params:
            assert getattr(parameter, "help", None), f"{name} {parameter.name}"


def test_no_arguments_and_version(run: Run) -> None:
    assert "Usage: featherface" in run().out
    assert re.fullmatch(r"featherface \d+\.\d+\.\d+\n", run("--version").out)


# --- usage --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["detect"], ["PATH"]),
        (["params", "v1"], ["v1"]),
        (["export", "--bogus"], ["--bogus"]),
        (["detect", "a.png", "--score"], ["--score"]),
        (["--bogus", "params"], ["--bogus"]),
        (["doctor", "--only", "python", "--skip", "machine"], ["--only", "--skip"]),
        (["doctor", "--only", "python", "--out", "file/inside.json"], ["file"]),
        (["export", "--static", "--size", "640,320"], ["640,320"]),
    ],
)
def test_usage_errors(run: Run, tmp_path: Path, arguments: list[str], names: list[str]) -> None:
    (tmp_path / "file").touch()
    ran = run(*arguments)
    assert_refused(ran, 2, *names)
    assert ran.out == ""


def test_unknown_command(run: Run) -> None:
    assert_refused(run("exprt"), 2, "'exprt'", "'export'")


# --- how it ends --------------------------------------------------------------------------------------------------------


def test_debug_shows_the_traceback(run: Run) -> None:
    ran = run("--debug", "params", "--model", "v3")
    assert ran.code == 2
    assert "Traceback" in ran.err
    assert "error: unknown model 'v3'" in ran.err


def test_an_unexpected_error_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object) -> None:
        raise RuntimeError("no such luck\nand a second line")

    monkeypatch.setattr("featherface_core.models.params.measure", fails)
    assert_refused(run("params"), 1, "unexpected RuntimeError: no such luck")


def test_interruption_ends_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("featherface_core.models.params.measure", interrupted)
    ran = run("params")
    assert (ran.code, ran.err) == (130, "")


def test_output_folders_that_cannot_be_written(run: Run, picture: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_refused(run("detect", picture, "--weights", weights, "--out", "file/inside"), 3, "file/inside")
    ran = run("export", "--weights", weights, "--out", "file/inside/v2.onnx")
    assert_refused(ran, 5, "file/inside")


def test_nothing_is_written_where_nothing_could_be_done(run: Run, picture: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    run("detect", picture, "missing.jpg", "--weights", weights)
    run("detect", picture, "--weights", "missing.pth")
    run("detect", picture, "--weights", weights, "--size", "31")
    run("detect", picture, "--weights", weights, "--out", "file/inside")
    run("export", "--weights", weights, "--format", "pth", "--out", "file/inside/up.pth")
    run("export", "--weights", weights, "--opset", "12")
    assert sorted(tmp_path.rglob("*")) == before


def test_quiet_keeps_errors_and_drops_notes(run: Run, picture: Path, stub: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    ran = run("detect", "empty.jpg", picture, "--onnx", stub, "--quiet")
    assert_refused(ran, 3, "empty.jpg")
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 2
    assert run("detect", picture, "--weights", "untrained", "--model", "v2", "--quiet").err == ""
    assert run("export", "--weights", weights, "--format", "pth", "--out", "up.pth", "--quiet").err == ""
    assert run("doctor", "--only", "python", "--quiet").err == ""


# --- pipes --------------------------------------------------------------------------------------------------------------


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    shell = subprocess.run(
        f"'{SCRIPT}' params --tree --depth 6 | head -1",
        shell=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "v1: 487,263 parameters" in shell.stdout
    assert shell.stderr == ""


def test_a_reader_of_json_lines_that_goes_away(stub: Path, tmp_path: Path) -> None:
    import cv2

    for i in range(40):
        cv2.imwrite(str(tmp_path / f"{i:02}.png"), np.zeros((400, 400, 3), np.uint8))
    command = f"'{SCRIPT}' detect . --onnx '{stub}' --json --out found | head -1"
    shell = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(shell.stdout)["source"] == "00.png"
    assert shell.stderr == ""
    lines = (tmp_path / "found" / "detections.jsonl").read_text().splitlines()
    assert [json.loads(line)["source"] for line in lines] == [f"{i:02}.png" for i in range(len(lines))]


@pytest.mark.parametrize("command", ["--help", "params --search --limit 999", "params --search --json"])
def test_a_reader_that_was_never_there(tmp_path: Path, command: str) -> None:
    child = subprocess.Popen(
        [SCRIPT, *command.split()], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    said = child.stderr.read()
    assert child.wait(60) != 0
    assert said == ""


def test_no_colours_for_a_pipe(tmp_path: Path) -> None:
    plain = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "GITHUB_ACTIONS")}
    for command in ("--help", "params --search", "params --model v3"):
        done = subprocess.run(
            [SCRIPT, *command.split()], cwd=tmp_path, capture_output=True, text=True, env={**plain, "TERM": "xterm"}
        )
        assert done.stdout + done.stderr
        assert "\x1b" not in done.stdout + done.stderr
