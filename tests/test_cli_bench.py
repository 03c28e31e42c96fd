"""bench as a user meets it: screens, JSON, the order of the command line, what is refused, and how it stops."""

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from bench_files import SHARED, candidate, peer, report
from command_line import SAYS_MODULES, Run, assert_refused
from known_faces import stub_onnx

from featherface_cli.screens.bench_screen import show_bench
from featherface_core.bench.report import Achieved, Alone, Cost, NodeTime, Throughput

PEERS = sorted((SHARED / "peers").glob("*.onnx"))
FAST = ("--runs", 3)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """A foreign file of any size, one of 32x48, and one of ours of 64x96."""
    made = [peer(tmp_path / "free.onnx", ("n", 3, "h", "w")), peer(tmp_path / "fixed.onnx")]
    return [*made, stub_onnx(tmp_path / "ours.onnx")]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command asks the core for, which is not run."""
    calls: list[Any] = []

    def bench(sources: object, config: object, picture: object, on_event: object) -> object:
        calls.append((sources, config, picture))
        return report()

    monkeypatch.setattr("featherface_core.bench.benchmark.bench", bench)
    return calls


# --- a whole run ---------------------------------------------------------------------------------------------------------


def test_json_of_three_files(run: Run, files: list[Path], tmp_path: Path) -> None:
    ours, free, fixed = files[2], files[0], files[1]
    ran = run(
        "bench", "--onnx", ours, "--onnx", free, "--onnx", fixed, *FAST, "--profile", "--chart", "a.png", "--json"
    )
    assert (ran.code, ran.err) == (0, "")
    said = json.loads(ran.out)
    assert (said["schema"], said["command"], said["runs"], said["starts"]) == (1, "bench", 3, 3)
    first, second, third = said["candidates"]
    assert [c["name"] for c in said["candidates"]] == ["ours", "free", "fixed"]
    assert [(c["height"], c["width"]) for c in said["candidates"]] == [(64, 96), (640, 640), (32, 48)]
    assert first["ratio"] is None
    for c in (second, third):
        rounds = [b / a for a, b in zip(first["milliseconds"]["rounds"], c["milliseconds"]["rounds"], strict=True)]
        assert c["ratio"]["median"] == pytest.approx(sorted(rounds)[1], rel=0.01)
        assert c["ratio"]["p5"] <= c["ratio"]["median"] <= c["ratio"]["p95"]
        assert c["stages"] is None
    assert first["stages"]["faces"] == 2
    assert (third["cost"]["parameters"], third["cost"]["macs"]) == (108, 4 * 32 * 48 * 27)
    assert (
        third["cost"]["bytes_moved"] >= 4 * (3 + 4) * 32 * 48 + 4 * 108
    )  # onnxruntime orders the channels anew besides
    assert second["achieved"]["of_peak"] > 0
    assert third["alone"]["problem"] == ""
    assert third["nodes"]
    assert said["throughput"] == []
    assert said["machine"]["onnxruntime"]
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_screens_fit_eighty_columns(run: Run, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featherface_cli.screens.console.stdout.width", 80)
    ran = run("bench", files[0], files[2], *FAST, "--profile", "--size", "64x96", "--threads", "1,2")
    assert (ran.code, ran.err) == (0, "")
    assert max(map(len, ran.out.splitlines())) <= 80
    assert "the network alone: 64x96, onnxruntime, batch 1, 1 thread, cpu\n" in ran.out
    assert "median of 3 rounds in 3 processes" in ran.out
    for title in (
        "from a file to faces",
        "pictures a second",
        "cost",
        "how far from the limit",
        "slowest nodes of free",
    ):
        assert title in ran.out
    assert re.search(r"^ free +\d.* 1 *$", ran.out, re.MULTILINE)
    assert re.search(r"^ ours +\d.*-\S+ +\d+\.\d\d +\d+\.\d\d-\d+\.\d\d *$", ran.out, re.MULTILINE)


@pytest.mark.slow
def test_a_model_in_both_runtimes_beside_a_file(run: Run, files: list[Path], tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    ran = run("bench", "--onnx", files[0], "--model", "v2", "--export", "--size", "64x96", *FAST, "--json")
    assert (ran.code, ran.err) == (0, "")
    said = json.loads(ran.out)
    free, torch, onnx = said["candidates"]
    assert (free["name"], free["ratio"]) == ("free", None)
    assert (torch["runtime"], torch["name"], torch["file"]) == ("torch", "v2", "")
    assert (onnx["runtime"], onnx["name"], onnx["file"]) == ("onnxruntime", "v2", "")
    assert torch["stages"]["faces"] == onnx["stages"]["faces"]
    assert torch["cost"]["parameters"] == onnx["cost"]["parameters"] == 256_156
    assert {"torch", "onnxruntime"} <= said["machine"].keys()
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.skipif(len(PEERS) < 4, reason=f"other projects' detectors are not part of the repository, nor in {SHARED}")
def test_four_detectors_of_others(run: Run) -> None:
    ran = run("bench", *PEERS, *FAST, "--json")
    assert ran.code == 0
    found = {c["name"]: c for c in json.loads(ran.out)["candidates"]}
    assert {name: (c["height"], c["cost"]["macs"]) for name, c in found.items()} == {
        "scrfd_500m_kps": (640, 733_545_600),
        "version-RFB-640": (480, 399_157_760),
        "yolov5n-0.5": (640, 735_283_200),
        "yunet_n_640_640": (640, 542_393_600),
    }
    assert all(c["ratio"] for name, c in found.items() if name != PEERS[0].stem)
    assert_refused(run("bench", *PEERS, "--size", 320), 2, "--size 320x320", PEERS[0].name, "leave --size out")


def test_an_onnx_file_is_timed_without_torch(files: list[Path]) -> None:
    arguments = ["bench", "--onnx", str(files[2]), "--runs", "3", "--quiet", "--json"]
    done = subprocess.run([sys.executable, "-c", SAYS_MODULES, *arguments], capture_output=True, text=True, check=True)
    out, _, loaded = done.stdout.rpartition("LOADED")
    assert json.loads(out)["candidates"][0]["alone"]["peak_bytes"] < 150e6
    assert "onnxruntime" in loaded.split()
    assert "torch" not in loaded.split()


# --- what is timed, and in which order -----------------------------------------------------------------------------------


def sources_of(asked: list[Any]) -> list[tuple[str, str]]:
    return [(source.runtime, source.subject) for source in asked[-1][0]]


def test_without_arguments_the_networks_that_ship(run: Run, asked: list[Any]) -> None:
    assert run("bench").code == 0
    both = [(runtime, name) for name in ("v2", "v1") for runtime in ("torch", "onnxruntime")]
    assert sources_of(asked) == both
    assert run("bench", "--no-export").code == 0
    assert sources_of(asked) == [("torch", "v2"), ("torch", "v1")]


def test_the_order_of_the_command_line(run: Run, asked: list[Any]) -> None:
    run(
        "bench",
        "-m",
        "v1",
        "--onnx",
        "a.onnx",
        "--weights",
        "w.pth",
        "--model",
        "v2",
        "--onnx=b.onnx",
        "c.onnx",
        "d.onnx",
    )
    assert sources_of(asked) == [
        ("torch", "v1"), ("onnxruntime", "a.onnx"), ("torch", "w.pth"), ("torch", "v2"), ("onnxruntime", "b.onnx"),
        ("onnxruntime", "c.onnx"), ("onnxruntime", "d.onnx"),
    ]  # fmt: skip
    run("bench", "--onnx", "a.onnx", "--model", "v1", "--export", "--weights", "w.pth")
    assert sources_of(asked) == [
        ("onnxruntime", "a.onnx"), ("torch", "v1"), ("onnxruntime", "v1"), ("torch", "w.pth"), ("onnxruntime", "w.pth"),
    ]  # fmt: skip


def test_how_it_is_timed(run: Run, asked: list[Any]) -> None:
    run(
        "bench",
        "--size",
        "480x640",
        "--batch",
        "2,8",
        "--threads",
        "4",
        "--runs",
        100,
        "--picture",
        "me.jpg",
        "--quiet",
    )
    _, config, picture = asked[-1]
    assert (config.size, config.batches, config.threads, config.runs) == ((480, 640), (2, 8), (4,), 100)
    assert picture == Path("me.jpg")


# --- what is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "names"),
    [
        (["--threads", "0"], 2, ["--threads 0"]),
        (["--threads", "1,-2"], 2, ["--threads -2"]),
        (["--batch", "0"], 2, ["--batch 0"]),
        (["--batch", "many"], 2, ["'many'"]),
        (["--batch", "2"], 2, ["--batch 2", "fixed.onnx", "1 at a time"]),
        (["--runs", "2"], 2, ["--runs 2"]),
        (["--size", "31"], 2, ["31"]),
        (["--size", "320,640"], 2, ["320,640"]),
        (["--size", "48x32"], 2, ["--size 48x32", "fixed.onnx", "32x48", "leave --size out"]),
        (["--device", "cuda"], 2, ["--device cuda", "CUDAExecutionProvider", "--device cpu"]),
        (["--device", "mps"], 2, ["'mps'"]),
        (["--onnx", "none.onnx"], 4, ["none.onnx"]),
        (["--onnx", "text.onnx"], 4, ["text.onnx"]),
        (["--weights", "none.pth"], 4, ["none.pth"]),
        (["--model", "v3"], 2, ["'v3'"]),
        (["--picture", "none.jpg"], 3, ["none.jpg"]),
        (["--chart", "a.pdf"], 2, ["a.pdf"]),
        (["--export"], 2, ["--export"]),
        (["v2"], 2, ["'v2'", "--model v2"]),
        (["w.safetensors"], 2, ["--weights w.safetensors"]),
        (["a.xml"], 4, ["a.xml", "does not exist"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bench_refuses(
    run: Run,
    files: list[Path],
    tmp_path: Path,
    arguments: list[str],
    code: int,
    names: list[str],
) -> None:
    (tmp_path / "text.onnx").write_text("no network")
    before = sorted(tmp_path.iterdir())
    ran = run("bench", "--onnx", files[1], *arguments)
    assert_refused(ran, code, *names)
    assert ran.out == ""
    assert sorted(tmp_path.iterdir()) == before


def test_profile_is_of_files(run: Run) -> None:
    assert_refused(run("bench", "--model", "v2", "--profile"), 2, "--profile", "--export")


def test_a_missing_runtime(run: Run, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    ran = run("bench", "--onnx", files[0])
    assert_refused(ran, 1, "onnxruntime cannot be imported", "pip install")
    assert_refused(run("bench"), 1, "onnxruntime cannot be imported")  # and nothing was exported for it


def test_ctrl_c(run: Run, files: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("featherface_core.bench.children.call", interrupted)
    before = sorted(tmp_path.iterdir())
    ran = run("bench", "--onnx", files[0], "--size", 64)
    assert (ran.code, ran.out, ran.err) == (130, "", "")
    assert sorted(tmp_path.iterdir()) == before


# --- screens of what is rare ---------------------------------------------------------------------------------------------


def screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], made: Any, width: int = 80) -> str:
    monkeypatch.setattr("featherface_cli.screens.console.stdout.width", width)
    show_bench(made)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    return out


def test_one_network_has_no_ratio(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out = screen(monkeypatch, capsys, report(candidate("alone", 10.0)))
    assert "spread" not in out
    assert "10.0" in out


def test_what_is_not_known_is_a_dash(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    bare = replace(
        candidate("bare", 1234.5),
        cost=Cost(None, None, None),
        achieved=Achieved(None, None, None, None),
        alone=Alone(problem="ended by signal 9"),
        stages=None,
        nodes=(NodeTime("n", "Conv", 1.0, 1.0, (1, 2)),),
    )
    rows = (Throughput(1, 1, (10.0, 20.0)), Throughput(4, 1, (None, 30.0)))
    made = report(bare, candidate("b", 0.5, ratio=0.1), batch=4, throughput=rows, warnings=("mind this",))
    out = screen(monkeypatch, capsys, made)
    assert re.search(r"^ bare +- +- +- +- *$", out, re.MULTILINE)
    assert re.search(r"^ bare +10\.0 +- *$", out, re.MULTILINE)
    assert "bare alone: ended by signal 9" in out
    assert "warning: mind this" in out
    assert "pictures/s" in out
    assert "how far from the limit" not in screen(monkeypatch, capsys, report(limit=None, device="cuda"))
