import shlex
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featherface_cli.app import main
from featherface_core.config import (
    AttentionConfig,
    DetectConfig,
    ExportConfig,
    ModelConfig,
    PostprocessConfig,
    check_threads,
    configs_folder,
    find_config,
    load_yaml,
    parse_overrides,
    parse_sizes,
    with_values,
)
from featherface_core.errors import ConfigError, did_you_mean
from featherface_core.models.variants import VARIANTS, resolve_model
from featherface_core.recipe import load_recipe
from featherface_core.training.runs import default_recipe

SHIPPED = sorted(configs_folder().rglob("*.yaml"))


def refused(caught: pytest.ExceptionInfo[ConfigError], *named: str) -> ConfigError:
    """The error, which is one line that names all of ``named``, and a hint of one line."""
    error = caught.value
    assert error.exit_code == 2
    assert "\n" not in error.message
    assert "\n" not in error.hint
    assert error.hint
    for name in named:
        assert name in error.message
    return error


def written(folder: Path, text: str | bytes, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


# ---- the shipped files ----


def test_files_are_shipped() -> None:
    assert {path.name for path in SHIPPED} >= {"slim.yaml", "v1-budget.yaml"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_file_is_found_by_name_and_its_command_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = path.relative_to(configs_folder())
    assert find_config(name).read_bytes() == path.read_bytes()
    assert find_config(Path("configs") / name).read_bytes() == path.read_bytes()
    assert load_yaml(name) == load_yaml(path)
    mark, program, *arguments = shlex.split(path.read_text(encoding="utf-8").splitlines()[0])
    assert (mark, program) == ("#", "featherface")
    if name.parts[0] == "recipes":
        # hours of training, on data of the user's: the words are parsed, and the help is shown instead
        arguments.append("--help")
        load_recipe(name)
    assert str(name) in arguments or default_recipe("v2", "synthetic") == path
    monkeypatch.setattr(sys, "argv", ["featherface", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    captured = capsys.readouterr()
    assert caught.value.code == 0, captured.err
    assert captured.out


def test_the_slim_file_needs_no_deformable_convolution() -> None:
    config = resolve_model("models/slim.yaml")
    assert (config.name, config.context) == ("slim", "plain")
    assert resolve_model("models/v1-budget.yaml").neck_attention.kind == "cbam"


def test_a_file_of_ones_own_goes_before_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    written(tmp_path / "models", "width: 8", "slim.yaml")
    assert load_yaml(Path("models/slim.yaml")) == {"width": 8}


def test_a_missing_file_lists_the_shipped_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.yaml").mkdir()
    for name in ("none.yaml", "folder.yaml"):
        with pytest.raises(ConfigError) as caught:
            find_config(Path(name))
        assert "models/slim.yaml" in refused(caught, name).hint


# ---- YAML ----


def test_yaml_values_come_back(tmp_path: Path) -> None:
    path = written(tmp_path, "# a comment\nwidth: 24\nneck_attention: {kind: cbam, reduction: 8}\n")
    assert load_yaml(path) == {"width": 24, "neck_attention": {"kind": "cbam", "reduction": 8}}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("width: 24\n  cells: 3\n", ":2"),
        ("width: [1, 2\n", ""),
        ("a: b: c\n", ":1"),
        ("width: @24\n", ":1"),
        ("", ""),
        ("- width\n- cells\n", ""),
        ("just words", ""),
        ("? {a: b}\n: 1\n", ""),
        (b"width: \xff\xfe\n", ""),
        (b"width: \x00\n", ""),
        ("a: !!python/object/apply:os.getcwd []\n", ":1"),
        (f"width: {'9' * 5000}\n", ""),  # int() takes 4,300 digits
        ("since: 2024-02-31\n", ""),
        ("width: " + "[" * 5000 + "\n", ""),
    ],
)
def test_yaml_that_cannot_be_read(tmp_path: Path, text: str | bytes, place: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_yaml(path)
    refused(caught, f"{path}{place}")


# ---- values into dataclasses ----


def test_with_values_merges_what_is_nested() -> None:
    base = VARIANTS["v1-original"]
    changed = with_values(base, {"width": 32, "neck_attention": {"reduction": 8}}, "here")
    assert changed.width == 32
    assert changed.neck_attention == AttentionConfig("cbam", 8)
    assert changed.backbone_attention == base.backbone_attention
    assert base.width == 64
    assert with_values(base, {}, "here") == base


@pytest.mark.parametrize("name", VARIANTS)
def test_what_a_file_records_comes_back(name: str) -> None:
    assert with_values(ModelConfig(), asdict(VARIANTS[name]), "here") == VARIANTS[name]


@pytest.mark.parametrize(
    ("values", "named", "hinted"),
    [
        ({"widht": 24}, "'widht'", "'width'"),
        ({"neck_attention": {"kinds": "cbam"}}, "'kinds'", "'kind'"),
        ({1: 24}, "'1'", "width"),
        ({"": 24}, "''", "width"),
        ({"width": "24"}, "'24'", "8 to 512"),
        ({"width": 24.0}, "24.0", "8 to 512"),
        ({"width": True}, "True", "8"),
        ({"width": None}, "None", "8"),
        ({"width": [24]}, "[24]", "8"),
        ({"width": float("nan")}, "nan", "8"),
        ({"width": 4}, "4", "8 to 512"),
        ({"width": 10**12}, "1000000000000", "8 to 512"),
        ({"cells": 0}, "0", "1 to 8"),
        ({"cells": 9}, "9", "1 to 8"),
        ({"name": 3}, "3", "configs"),
        ({"context": "deformabel"}, "'deformabel'", "'deformable'"),
        ({"context": ["plain"]}, "['plain']", "plain"),
        ({"neck": None}, "None", "bifpn"),
        ({"shuffle": "groups"}, "'groups'", "groups-2"),
        ({"neck_attention": "cbam"}, "'cbam'", "neck_attention: {kind: cbam}"),
        ({"neck_attention": None}, "None", "neck_attention"),
        ({"neck_attention": {"kind": "senet"}}, "'senet'", "cbam"),
        ({"neck_attention": {"reduction": 0}}, "0", "1 to 64"),
        ({"neck_attention": {"reduction": 2.5}}, "2.5", "1 to 64"),
    ],
)
def test_values_that_cannot_be_used(values: dict, named: str, hinted: str) -> None:
    with pytest.raises(ConfigError) as caught:
        with_values(VARIANTS["v1"], values, "here.yaml")
    error = refused(caught, named, "here.yaml")
    assert error.message.count("here.yaml") == 1
    assert hinted in error.hint


def test_an_error_names_the_key_that_it_is_below() -> None:
    with pytest.raises(ConfigError) as caught:
        with_values(VARIANTS["v1"], {"backbone_attention": {"kinds": "cbam"}}, "here.yaml")
    refused(caught, "here.yaml: backbone_attention")


# ---- names and files of networks ----


def test_a_file_starts_from_its_base(tmp_path: Path) -> None:
    config = resolve_model(str(written(tmp_path, "base: v2\ncells: 1\n")))
    assert config.name == "mine"
    assert (config.neck, config.width, config.cells) == ("bifpn-light", 32, 1)
    assert resolve_model(str(written(tmp_path, "width: 24\n", "other.yml"))).cells == VARIANTS["v1"].cells
    assert resolve_model(str(written(tmp_path, "name: called\n"))).name == "called"


@pytest.mark.parametrize("base", ["v3", "[v1]", "{v1: 2}", "", "7"])
def test_a_base_that_is_no_variant(tmp_path: Path, base: str) -> None:
    path = written(tmp_path, f"base: {base}\nwidth: 24\n")
    with pytest.raises(ConfigError) as caught:
        resolve_model(str(path))
    assert "v1-original" in refused(caught, str(path)).hint


@pytest.mark.parametrize(("name", "meant"), [("v3", "v"), ("V2", "v2"), ("v1-orginal", "'v1-original'"), ("", "v1")])
def test_an_unknown_variant(name: str, meant: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_model(name)
    hint = refused(caught, repr(name)).hint
    assert meant in hint
    assert all(known in hint for known in VARIANTS)
    assert ".yaml" in hint


def test_overrides_are_marked_in_the_name() -> None:
    config = resolve_model("v1", parse_overrides(["width=24", "neck_attention.kind=cbam"]))
    assert config.name == "v1*"
    assert (config.width, config.neck_attention.kind) == (24, "cbam")
    assert resolve_model("v1", {}) == VARIANTS["v1"]
    assert VARIANTS["v1"].width == 52


def test_parse_overrides() -> None:
    pairs = ["width=40", "neck_attention.kind=cbam", "neck_attention.reduction=8", "name=a=b", "cells="]
    assert parse_overrides(pairs) == {
        "width": 40,
        "neck_attention": {"kind": "cbam", "reduction": 8},
        "name": "a=b",
        "cells": None,
    }
    assert parse_overrides([]) == {}
    assert parse_overrides(["width=24", "width=32"]) == {"width": 32}


@pytest.mark.parametrize(
    "pairs",
    [
        ["width"],
        ["=24"],
        [""],
        ["width=[1"],
        ["since=2024-02-31"],
        ["width=24", "width.x=1"],
        ["neck_attention=cbam", "neck_attention.reduction=8"],
    ],
)
def test_overrides_that_cannot_be_read(pairs: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_overrides(pairs)
    refused(caught, "--set", pairs[-1])


# ---- networks that cannot be built ----


@pytest.mark.parametrize(
    ("config", "below", "above"),
    [
        ({"width": 50}, 48, 52),
        ({"width": 10}, 8, 12),
        ({"width": 40, "context": "grouped"}, 32, 48),
        ({"width": 8, "context": "grouped"}, 16, 16),
        ({"width": 20, "shuffle": "light"}, 16, 24),
    ],
)
def test_a_width_that_does_not_divide_hints_at_two_that_do(config: dict, below: int, above: int) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig(**config)
    hint = refused(caught, str(config["width"])).hint
    assert str(below) in hint
    assert str(above) in hint
    for width in (below, above):
        assert ModelConfig(**{**config, "width": width}).width == width


def test_a_reduction_larger_than_the_neck_leaves_no_channel() -> None:
    with pytest.raises(ConfigError) as caught:
        ModelConfig(width=8, neck_attention=AttentionConfig("cbam", 16))
    refused(caught, "16", "width 8")
    assert ModelConfig(width=8, neck_attention=AttentionConfig("cbam", 8)).width == 8
    assert ModelConfig(width=8, neck_attention=AttentionConfig("none", 64)).width == 8
    assert ModelConfig(width=8, neck_attention=AttentionConfig("shared-cbam", 64)).width == 8


# ---- numbers ----


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: PostprocessConfig(score=1.5), "--score 1.5"),
        (lambda: PostprocessConfig(score=-0.1), "--score -0.1"),
        (lambda: PostprocessConfig(score=float("nan")), "--score nan"),
        (lambda: PostprocessConfig(nms=2), "--nms 2"),
        (lambda: PostprocessConfig(top_k=-1), "--top-k -1"),
        (lambda: DetectConfig(size=31), "--size 31"),
        (lambda: DetectConfig(size=32769), "--size 32769"),
        (lambda: DetectConfig(batch=0), "--batch 0"),
        (lambda: check_threads(-1), "--threads -1"),
        (lambda: check_threads(1025), "--threads 1025"),
        (lambda: ExportConfig(opset=18), "--opset 18"),
        (lambda: ExportConfig(opset=24), "--opset 24"),
        (lambda: ExportConfig(size=(64, 31)), "31"),
        (lambda: ExportConfig(test_sizes=((64, 64), (5, 64))), "5"),
    ],
)
def test_numbers_out_of_range(make, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    refused(caught, named)


def test_numbers_at_the_ends_of_their_ranges() -> None:
    for value in (0, 1, 0.0, 1.0):
        assert PostprocessConfig(score=value, nms=value).score == value
    assert DetectConfig(size=32, batch=1024).size == 32
    assert ExportConfig(opset=19, size=(32, 32768)).opset == 19
    assert ExportConfig(opset=23).opset == 23


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("640", ((640, 640),)),
        ("480x640", ((480, 640),)),
        ("480X640", ((480, 640),)),
        ("320,416, 333x517", ((320, 320), (416, 416), (333, 517))),
        ("[320, 640]", ((320, 320), (640, 640))),
        ("(320,640)", ((320, 320), (640, 640))),
    ],
)
def test_parse_sizes(text: str, sizes: tuple[tuple[int, int], ...]) -> None:
    assert parse_sizes(text) == sizes


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("640,abc", "'abc'"),
        ("", "''"),
        ("640,", "''"),
        ("640x", "'640x'"),
        ("x640", "'x640'"),
        ("1x2x3", "'1x2x3'"),
        ("640.5", "'640.5'"),
        ("31", "31"),
        ("64x31", "31"),
        ("-64", "-64"),
        ("99999", "99999"),
    ],
)
def test_sizes_that_cannot_be_used(text: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_sizes(text)
    refused(caught, named)


@given(st.lists(st.tuples(st.integers(32, 32768), st.integers(32, 32768)), min_size=1, max_size=5))
def test_sizes_written_down_come_back(sizes: list[tuple[int, int]]) -> None:
    assert parse_sizes(",".join(f"{height}x{width}" for height, width in sizes)) == tuple(sizes)


def test_did_you_mean_names_the_closest_or_all() -> None:
    assert did_you_mean("widht", ["width", "cells"]) == "did you mean 'width'? known: cells, width"
    assert did_you_mean("zzz", ["width", "cells"]) == "known: cells, width"
