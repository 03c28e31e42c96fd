"""The command line as a user meets it: what it prints, what it refuses, and how it ends."""

import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from test_package import FACES, stub_onnx

from featherface_cli.app import main
from featherface_core.models.variants import VARIANTS, build_model

COMMANDS = ("params", "detect", "train", "distill", "export", "bench", "doctor", "data")
TOTALS = {"v1": 487_263, "v1-original": 592_371, "v1-24": 321_041, "v1-56": 489_015, "v2": 256_156}
PROFILER = {"v1": 418_788, "v1-original": 488_661, "v1-24": 306_431, "v1-56": 409_615, "v2": 256_136}
SCRIPT = str(Path(sys.executable).with_name("featherface"))
HEAVY = ("torch", "cv2", "onnx", "onnxruntime", "onnxsim")


@dataclass
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run ``featherface ARGUMENTS`` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["featherface", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return Ran(int(ended.value.code or 0), out, err)

    return call


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random v2, as a weights file of ours."""
    from featherface_core.checkpoint import save_weights

    path = tmp_path_factory.mktemp("weights") / "v2.safetensors"
    model = build_model("v2", seed=0)
    return save_weights(path, model.state_dict(), model.config)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A small picture of noise."""
    import cv2

    path = tmp_path / "good.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8))
    return path


def assert_refused(ran: Ran, code: int, *names: str) -> None:
    """One error line that names what is wrong, one hint, the documented code, and no traceback."""
    assert ran.code == code, ran.err
    errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, ran.err
    assert sum(line.startswith("hint: ") for line in ran.err.splitlines()) == 1, ran.err
    assert "Traceback" not in ran.err
    for name in names:
        assert name in ran.err


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
    program = "import featherface_core.detect_files, sys; print(*sys.modules)"
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


# --- params -------------------------------------------------------------------------------------------------------------


def test_params_of_v1(run: Run) -> None:
    ran = run("params", "--model", "v1")
    assert ran.code == 0
    assert ran.err == ""
    assert "v1: 487,263 parameters" in ran.out
    assert "489,000 ± 5,000 met: 1,737 below" in ran.out
    assert "17.7% fewer" in ran.out
    assert "thop would print 418,788" in ran.out
    assert "\x1b" not in ran.out


def test_params_json(run: Run) -> None:
    said = json.loads(run("params", "--all", "--json").out)
    assert (said["schema"], said["command"]) == (1, "params")
    assert {m["model"]: m["total"]["parameters"] for m in said["models"]} == TOTALS
    assert {m["model"]: m["profiler_figure"] for m in said["models"]} == PROFILER
    for m in said["models"]:
        assert sum(part["parameters"] for part in m["total"]["parts"]) == m["total"]["parameters"]


def test_params_all_fits_eighty_columns(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featherface_cli.render.stdout.width", 80)
    out = run("params", "--all").out
    assert max(map(len, out.splitlines())) <= 80
    for name, total in TOTALS.items():
        assert re.search(rf"^ *{name} +{total:,} ", out, re.MULTILINE)
    assert "-167,959" in out


def test_params_depth_and_tree(run: Run) -> None:
    assert "p4_td" not in run("params", "--depth", 3).out
    assert "p4_td" in run("params", "--depth", 4).out
    assert "DeformConv2d" in run("params", "--tree", "--depth", 4).out


def test_params_search(run: Run) -> None:
    arguments = ("params", "--target", 489000, "--tolerance", 5000, "--search")
    said = json.loads(run(*arguments, "--json").out)
    distances = [abs(row["parameters"] - 489_000) for row in said["rows"]]
    assert distances == sorted(distances)
    assert max(distances) <= 5_000
    assert {"v1", "v1-56"} <= {row["same_as"] for row in said["rows"]}
    assert [24, 321_041] in said["near"]
    shown = run(*arguments, "--limit", 3).out
    assert "3 of 22; --limit shows more" in shown
    assert re.search(r"width 24 +321,041 with all else as in v1: -167,959", shown)


def test_params_set_and_yaml(run: Run, tmp_path: Path) -> None:
    assert "321,041 parameters" in run("params", "--set", "width=24").out
    assert "missed: 167,959 below" in run("params", "--set", "width=24").out
    (tmp_path / "mine.yaml").write_text("base: v2\nneck_attention: {kind: none}\n")
    assert "mine: 255,288 parameters" in run("params", "--model", "mine.yaml").out
    assert run("params", "--model", "models/slim.yaml").code == 0  # shipped, found from any folder


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--model", "v3"], ["'v3'", "did you mean"]),
        (["--model", "v1original"], ["did you mean 'v1-original'"]),
        (["--model", "none.yaml"], ["none.yaml", "models/slim.yaml"]),
        (["--size", "31"], ["31", "32"]),
        (["--size", "-640"], ["-640"]),
        (["--set", "widht=24"], ["'widht'", "did you mean 'width'"]),
        (["--set", "width"], ["'width'"]),
        (["--set", "width=wide"], ["'wide'"]),
        (["--target", "100", "--search"], ["100 ± 5,000"]),
        (["--all", "--search"], ["--search"]),
        (["--modle", "v1"], ["--modle", "--model"]),
        (["--depth", "0"], ["--depth"]),
    ],
)
def test_params_refuses(run: Run, arguments: list[str], names: list[str]) -> None:
    assert_refused(run("params", *arguments), 2, *names)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("width: 40\ncellz: 3\n", ["'cellz'", "did you mean 'cells'", "bad.yaml"]),
        ("width: forty\n", ["width", "'forty'", "bad.yaml"]),
        ("width: 40.5\n", ["width", "40.5"]),
        ("width: true\n", ["width", "True"]),
        ("width: 41\n", ["41", "40 or 44"]),
        ("width: 4\n", ["4", "8 to 512"]),
        ("cells: 0\n", ["cells 0"]),
        ("name: 7\n", ["name", "7"]),
        ("context: deformed\n", ["'deformed'", "did you mean 'deformable'"]),
        ("shuffle: group-2\n", ["'group-2'", "did you mean 'groups-2'"]),
        ("neck_attention: cbam\n", ["neck_attention", "'cbam'"]),
        ("neck_attention: {kind: cbam, reduction: 0}\n", ["reduction 0"]),
        ("neck_attention: {kinds: cbam}\n", ["'kinds'", "neck_attention"]),
        ("base: v7\n", ["'v7'"]),
        ("width: [1\n", ["bad.yaml:2"]),
        ("- width\n", ["bad.yaml"]),
        ("", ["bad.yaml"]),
    ],
)
def test_yaml_that_cannot_be_used(run: Run, tmp_path: Path, text: str, names: list[str]) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    assert_refused(run("params", "--model", "bad.yaml"), 2, *names)


# --- detect -------------------------------------------------------------------------------------------------------------


def test_detect_writes_and_prints(run: Run, picture: Path, weights: Path, tmp_path: Path) -> None:
    ran = run("detect", picture, "--weights", weights, "--score", 0.1)
    assert ran.code == 0
    assert "v2, v2.safetensors (sha256 " in ran.out
    assert sorted(p.name for p in (tmp_path / "detections").iterdir()) == ["detections.jsonl", "good_faces.png"]
    (line,) = (tmp_path / "detections" / "detections.jsonl").read_text().splitlines()
    said = run("detect", picture, "--weights", weights, "--score", 0.1, "--json").out
    assert json.loads(said) == json.loads(line)
    face = json.loads(line)["faces"][0]
    assert len(face["box"]) == 4
    assert len(face["landmarks"]) == 5
    assert 0 <= face["box"][0] <= face["box"][2] <= 64


def test_quiet_says_nothing(run: Run, picture: Path, weights: Path) -> None:
    ran = run("detect", picture, "--weights", weights, "--quiet")
    assert (ran.code, ran.out, ran.err) == (0, "", "")


def test_untrained_is_said(run: Run, picture: Path) -> None:
    assert "random network" in run("detect", picture, "--weights", "untrained").err


def test_a_broken_picture_does_not_stop_the_rest(run: Run, picture: Path, weights: Path, tmp_path: Path) -> None:
    import cv2

    noise = np.random.default_rng(0).integers(0, 255, (200, 200, 3), np.uint8)
    whole = cv2.imencode(".jpg", noise)[1].tobytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    ran = run("detect", "cut.jpg", picture, "--weights", weights)
    assert_refused(ran, 3, "cut.jpg", "cut short")
    lines = [json.loads(line) for line in (tmp_path / "detections/detections.jsonl").read_text().splitlines()]
    assert ["problem" in line for line in lines] == [True, False]
    assert (tmp_path / "detections/good_faces.png").is_file()


def test_pictures_that_cannot_be_read(run: Run, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "folder").mkdir()
    for name in ("missing.jpg", "empty.jpg", "text.jpg", "folder", "no*.jpg", "97"):
        assert_refused(run("detect", name, "--weights", weights), 3, name)


class Opens:
    """A pickle that writes a file if anything runs it."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return open, (self.path, "w")


def test_weights_that_cannot_be_used(run: Run, picture: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    (tmp_path / "text.pth").write_text("hello, this is text")
    (tmp_path / "cut.safetensors").write_bytes(weights.read_bytes()[:50_000])
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Opens(str(tmp_path / "it-ran"))))
    (tmp_path / "network.onnx").write_bytes(b"\x08\x0a" * 20)
    for name in ("missing.pth", "empty.pth", "text.pth", "cut.safetensors", "evil.pth", "network.onnx"):
        assert_refused(run("detect", picture, "--weights", name), 4, name)
    assert not (tmp_path / "it-ran").exists()
    assert not (tmp_path / "detections").exists()


def test_weights_of_another_variant(run: Run, picture: Path, weights: Path, tmp_path: Path) -> None:
    import torch

    from featherface_core.models.upstream import to_upstream

    assert_refused(run("detect", picture, "--weights", weights, "--model", "v1"), 4, "--model v2")
    model = build_model("v1-24", seed=0)
    state = model.state_dict()
    names = to_upstream(state, model.config)
    torch.save({names[k]: t for k, t in state.items()}, tmp_path / "published.pth")
    ran = run("detect", picture, "--weights", "published.pth", "--model", "v1")
    assert_refused(ran, 4, "published.pth", "misshapen", "--model v1-24")
    assert len(ran.err.splitlines()) < 20  # the rest of the list is for --debug
    assert len(run("--debug", "detect", picture, "--weights", "published.pth", "--model", "v1").err.splitlines()) > 100


def test_onnx_files_that_cannot_be_used(run: Run, picture: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_text("no network")
    for name in ("bad.onnx", "missing.onnx"):
        assert_refused(run("detect", picture, "--onnx", name), 4, name)
    assert_refused(run("detect", picture, "--onnx", "bad.onnx", "--weights", weights), 2, "--onnx")


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--size", "31"], ["31"]),
        (["--size", "-5"], ["-5"]),
        (["--score", "1.5"], ["1.5"]),
        (["--score", "abc"], ["--score"]),
        (["--score", "nan"], ["nan"]),
        (["--nms", "-0.1"], ["-0.1"]),
        (["--batch", "0"], ["--batch 0"]),
        (["--top-k", "-1"], ["--top-k -1"]),
        (["--threads", "-1"], ["--threads -1"]),
        (["--device", "gpu"], ["gpu"]),
        (["--model", "v3"], ["'v3'"]),
    ],
)
def test_detect_refuses(run: Run, picture: Path, weights: Path, arguments: list[str], names: list[str]) -> None:
    assert_refused(run("detect", picture, "--weights", weights, *arguments), 2, *names)


def test_detect_needs_weights_where_none_ship(run: Run, picture: Path) -> None:
    assert_refused(run("detect", picture, "--model", "v1-24"), 2, "no weights ship for 'v1-24'", "--weights")


def test_output_folders_that_cannot_be_written(run: Run, picture: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert_refused(run("detect", picture, "--weights", weights, "--out", "file/inside"), 3, "file/inside")
    ran = run("export", "--weights", weights, "--out", "file/inside/v2.onnx")
    assert_refused(ran, 5, "file/inside")


# --- export -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--opset", "12"], ["12", "19"]),
        (["--test-sizes", "31"], ["31"]),
        (["--test-sizes", "640,abc"], ["'abc'"]),
        (["--test-sizes", "0x0"], ["0"]),
        (["--static", "--size", "20"], ["20"]),
        (["--dynamic", "--size", "640"], ["--size 640", "--static"]),
        (["--static", "--test-sizes"], ["--test-sizes", "--static"]),
        (["--format", "tflite"], ["'tflite'"]),
        (["--format", "safetensors", "--model", "v1-24"], ["--weights"]),
        (["--weights", "untrained", "--model", "v9"], ["'v9'"]),
    ],
)
def test_export_refuses(run: Run, tmp_path: Path, arguments: list[str], names: list[str]) -> None:
    assert_refused(run("export", *arguments), 2, *names)
    assert not list(tmp_path.iterdir())


def test_export_converts_weights_both_ways(run: Run, weights: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    assert run("export", "--weights", weights, "--format", "pth", "--out", "up.pth").code == 0
    ran = run("export", "--weights", "up.pth", "--format", "safetensors", "--out", "back.safetensors", "--json")
    assert json.loads(ran.out)["source_layout"] == "upstream"
    before, after = load_file(weights), load_file(tmp_path / "back.safetensors")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.slow
def test_the_export_of_the_readme_in_an_empty_folder(run: Run, tmp_path: Path) -> None:
    ran = run("export", "--dynamic", "--test-sizes")
    assert ran.code == 0
    assert "random network" not in ran.err
    assert [p.name for p in tmp_path.iterdir()] == ["featherface_v2.onnx"]
    rows = re.findall(r"^ *(\d+x\d+) +([12])x(\d+)x4,2,10 .* same *$", ran.out, re.MULTILINE)
    sizes = ["320x320", "416x416", "640x640", "832x832", "32x32", "97x33", "333x517"]
    assert [(size, batch) for size, batch, _ in rows] == [(size, batch) for size in sizes for batch in "12"]
    assert ("640x640", "1", "16800") in rows


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--format", "pth", "--out", "w.safetensors"], ["w.safetensors", "pth"]),
        (["--format", "safetensors", "--out", "w.safetensors"], ["w.safetensors", "itself"]),
        (["--out", "w.safetensors"], ["w.safetensors", "onnx"]),
        (["--format", "pth", "--package", "deploy"], ["--package"]),
    ],
)
def test_an_export_spares_its_weights(
    run: Run, weights: Path, tmp_path: Path, arguments: list[str], names: list[str]
) -> None:
    (tmp_path / "w.safetensors").write_bytes(weights.read_bytes())
    assert_refused(run("export", "--weights", "w.safetensors", *arguments), 2, *names)
    assert (tmp_path / "w.safetensors").read_bytes() == weights.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_a_conversion_says_what_it_loses(run: Run, tmp_path: Path) -> None:
    from dataclasses import replace

    import torch

    from featherface_core.checkpoint import save_weights

    config = replace(VARIANTS["v1-24"], name="mine", shuffle="groups-half")
    save_weights("mine.safetensors", build_model(config, seed=0).state_dict(), config)
    said = json.loads(run("export", "--weights", "mine.safetensors", "--format", "pth", "--out", "a.pth", "--json").out)
    assert "records no network" in said["note"]  # read back alone, it would pass for v1-24
    state = torch.load(tmp_path / "a.pth", weights_only=True)
    torch.save({name: t.double() if t.is_floating_point() else t for name, t in state.items()}, tmp_path / "b.pth")
    said = json.loads(run("export", "--weights", "b.pth", "--format", "safetensors", "--json").out)
    assert said["note"] == "read as float32 from float64"


# --- doctor -------------------------------------------------------------------------------------------------------------


def test_doctor(run: Run, tmp_path: Path) -> None:
    ran = run("doctor", "--only", "models", "--out", "validation_results.json")
    assert ran.code == 0
    assert "5 ok" in ran.out
    report = json.loads((tmp_path / "validation_results.json").read_text())
    assert report["counts"]["ok"] == 5
    assert {f["check"] for f in report["findings"]} == set(VARIANTS)
    assert json.loads(run("doctor", "--only", "python", "--json").out)["counts"]["ok"] == 1


def test_doctor_fails_and_is_strict(run: Run, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.pth").touch()
    ran = run("doctor", "--only", "weights", "--weights", "empty.pth")
    assert ran.code == 1
    assert "fix: copy or download it again" in ran.out
    untrained = ("doctor", "--only", "weights", "--weights", weights)
    assert "look untrained" in run(*untrained).out
    assert (run(*untrained).code, run(*untrained, "--strict").code) == (0, 1)


def test_doctor_refuses_an_unknown_check(run: Run) -> None:
    assert_refused(run("doctor", "--only", "modles"), 2, "'modles'", "did you mean 'models'")


@pytest.mark.slow
def test_the_whole_doctor_in_an_empty_folder(run: Run, tmp_path: Path) -> None:
    ran = run("doctor")
    assert ran.code == 0, ran.out
    assert "0 fail" not in ran.out
    assert " fail " not in ran.out
    assert not list(tmp_path.iterdir())


# --- the shell ----------------------------------------------------------------------------------------------------------


def test_unknown_command(run: Run) -> None:
    assert_refused(run("exprt"), 2, "'exprt'", "'export'")


def test_debug_shows_the_traceback(run: Run) -> None:
    ran = run("--debug", "params", "--model", "v3")
    assert ran.code == 2
    assert "Traceback" in ran.err
    assert "error: unknown model 'v3'" in ran.err


def test_an_unexpected_error_is_one_line_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*arguments: object) -> None:
        raise RuntimeError("no such luck\nand a second line")

    monkeypatch.setattr("featherface_core.params.measure", fails)
    assert_refused(run("params"), 1, "unexpected RuntimeError: no such luck")


def test_interruption_ends_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("featherface_core.params.measure", interrupted)
    ran = run("params")
    assert (ran.code, ran.err) == (130, "")


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


def test_a_terminated_run_keeps_what_it_found(stub: Path, tmp_path: Path) -> None:
    import signal

    import cv2

    for i in range(300):
        cv2.imwrite(str(tmp_path / f"{i:03}.png"), np.zeros((500, 500, 3), np.uint8))
    arguments = [SCRIPT, "detect", ".", "--onnx", str(stub), "--out", "found"]
    child = subprocess.Popen(
        arguments, cwd=tmp_path, stdout=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGTERM)
    child.stdout.read()
    assert child.wait(30) == 130
    lines = (tmp_path / "found" / "detections.jsonl").read_text().splitlines()
    assert 0 < len(lines) < 300
    assert not list((tmp_path / "found").glob(".*"))


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


# --- results for programs, notes for people -----------------------------------------------------------------------------


@pytest.fixture
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file of ours for 96x64 pictures that finds two known faces in each."""
    return stub_onnx(tmp_path_factory.mktemp("stub") / "stub.onnx")


def test_detect_with_an_onnx_file(run: Run, picture: Path, stub: Path, tmp_path: Path) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "wide.png"), np.zeros((128, 192, 3), np.uint8))  # runs at half its size
    ran = run("detect", picture, "wide.png", "--onnx", stub, "--json", "--out", "found")
    assert (ran.code, ran.err) == (0, "")
    small, wide = (json.loads(line) for line in ran.out.splitlines())
    assert (small["source"], small["width"], small["height"]) == (str(picture), 64, 48)
    assert [face["score"] for face in wide["faces"]] == pytest.approx(sorted(FACES.values(), reverse=True))
    # scales are 4/3 and 1/2; the canvas cuts neither face off
    points = [np.array(line["faces"][0]["landmarks"]) for line in (small, wide)]
    np.testing.assert_allclose(points[0] * 4 / 3, points[1] / 2, atol=0.04)  # of two rounded numbers
    written = (tmp_path / "found" / "detections.jsonl").read_text().splitlines()
    assert written == ran.out.splitlines()
    assert [
        face["score"]
        for face in json.loads(run("detect", picture, "--onnx", stub, "--score", 0.8, "--json").out)["faces"]
    ] == [0.9]
    assert_refused(run("detect", picture, "--onnx", stub, "--size", 97), 2, "--size 97", "96x64")
    # the fixed size bounds --size (64x48 pixels become 85x64, not 96x72), and a smaller one is kept to
    bounded = [json.loads(run("detect", picture, "--onnx", stub, "--json", "--size", n).out) for n in (96, 32)]
    assert bounded[0]["faces"] == small["faces"]
    np.testing.assert_allclose(np.array(bounded[1]["faces"][0]["landmarks"]) / 2, points[0] * 4 / 3, atol=0.04)


def test_json_stays_pure_beside_a_broken_picture(run: Run, picture: Path, stub: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    ran = run("detect", "empty.jpg", picture, "--onnx", stub, "--json")
    assert_refused(ran, 3, "empty.jpg")
    assert ["problem" in json.loads(line) for line in ran.out.splitlines()] == [True, False]


def test_quiet_keeps_errors_and_drops_notes(run: Run, picture: Path, stub: Path, weights: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    ran = run("detect", "empty.jpg", picture, "--onnx", stub, "--quiet")
    assert_refused(ran, 3, "empty.jpg")
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 2
    assert run("detect", picture, "--weights", "untrained", "--model", "v2", "--quiet").err == ""
    assert run("export", "--weights", weights, "--format", "pth", "--out", "up.pth", "--quiet").err == ""
    assert run("doctor", "--only", "python", "--quiet").err == ""


def test_a_video_has_one_summary_and_no_line_a_frame(run: Run, stub: Path, tmp_path: Path) -> None:
    import cv2

    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 5, (96, 64))
    for _ in range(3):
        writer.write(np.zeros((64, 96, 3), np.uint8))
    writer.release()
    ran = run("detect", "clip.mp4", "--onnx", stub)
    assert ran.code == 0
    assert "6 faces in 3 " in ran.out
    assert "frame 0" not in ran.out
    frames = [
        json.loads(line)["frame"] for line in run("detect", "clip.mp4", "--onnx", stub, "--json").out.splitlines()
    ]
    assert frames == [0, 1, 2]


def test_an_interrupted_detect_keeps_what_it_found(
    run: Run, picture: Path, stub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featherface_core.detect import Detector

    for name in ("b.png", "c.png"):
        (tmp_path / name).write_bytes(picture.read_bytes())
    calls = []
    whole = Detector.run

    def second_is_interrupted(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Detector, "run", second_is_interrupted)
    ran = run("detect", picture, "b.png", "c.png", "--onnx", stub)
    assert ran.code == 130
    assert "Traceback" not in ran.err
    assert sorted(p.name for p in (tmp_path / "detections").iterdir()) == ["detections.jsonl", "good_faces.png"]
    assert len((tmp_path / "detections" / "detections.jsonl").read_text().splitlines()) == 1


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


def test_code_in_a_pickle_is_not_run(run: Run, picture: Path, tmp_path: Path) -> None:
    import torch

    marker = tmp_path / "it-ran"
    evil = Opens(str(marker))
    pickle.loads(pickle.dumps(evil)).close()
    assert marker.exists()  # so it would have
    marker.unlink()
    torch.save({"state_dict": evil}, tmp_path / "zip.pth")
    torch.save(evil, tmp_path / "legacy.pth", _use_new_zipfile_serialization=False)
    (tmp_path / "text.pth").write_bytes(pickle.dumps(evil, 0))
    (tmp_path / "four.pth").write_bytes(pickle.dumps(evil, 4))
    for name in ("zip.pth", "legacy.pth", "text.pth", "four.pth"):
        assert_refused(run("detect", picture, "--weights", name), 4, name)
        assert_refused(run("export", "--weights", name), 4, name)
    assert not marker.exists()


def test_a_cut_pth_and_an_onnx_file_given_as_weights(run: Run, picture: Path, stub: Path, tmp_path: Path) -> None:
    import torch

    torch.save(build_model("v2", seed=0).state_dict(), tmp_path / "whole.pth")
    data = (tmp_path / "whole.pth").read_bytes()
    for end in (3, 1000, len(data) // 2, len(data) - 10):
        (tmp_path / "cut.pth").write_bytes(data[:end])
        assert_refused(run("detect", picture, "--weights", "cut.pth"), 4, "cut.pth")
    assert_refused(run("detect", picture, "--weights", stub), 4, f"hint: use --onnx {stub}")


# --- odd names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["two\nlines.jpg", "[bold]x[", "[red].jpg", "ünï 文.jpg", "b\udcff.jpg"])
def test_odd_names_of_pictures(run: Run, picture: Path, stub: Path, tmp_path: Path, name: str) -> None:
    assert_refused(run("detect", f"missing {name}", "--onnx", stub), 3, "missing")
    assert len(run("detect", f"missing {name}", "--onnx", stub).err.splitlines()) == 2
    (tmp_path / name).write_bytes(picture.read_bytes())
    ran = run("detect", name, "--onnx", stub)
    assert (ran.code, ran.err) == (0, "")
    (line,) = (tmp_path / "detections" / "detections.jsonl").read_text().splitlines()
    assert json.loads(line)["source"] == name
    (tmp_path / name).write_bytes(b"")
    assert_refused(run("detect", name, "--onnx", stub), 3, "is empty")


@pytest.mark.parametrize("name", ["[/red]", "[bold]", "[link=x]a"])
def test_odd_names_of_networks(run: Run, tmp_path: Path, name: str) -> None:
    (tmp_path / "odd.yaml").write_text(f"name: '{name}'\nwidth: 24\n")
    assert f"{name}: 321,041 parameters" in run("params", "--model", "odd.yaml").out
    assert f"{name}: 321,041 parameters" in run("params", "--model", "odd.yaml", "--tree").out
    assert name in run("params", "--model", "odd.yaml", "--model", "v1").out
    assert run("params", "--model", "odd.yaml", "--search", "--target", 321041).code == 0


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
