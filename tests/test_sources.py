"""What the paths given to detect mean: files, folders, patterns, and what is no picture."""

from pathlib import Path

import pytest
from spotter import run, save

from featherface_core.detect.sources import find_sources
from featherface_core.errors import DataError


def test_folders_globs_files_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/2.png", "a/1.JPG", "a/deep/3.png", "b/4.png", "b/5.png", "[odd] name?.png"):
        save(tmp_path / name)
    (tmp_path / "a" / "note.txt").write_text("not a picture")
    assert [s.path for s in find_sources(["a"])] == ["a/1.JPG", "a/2.png", "a/deep/3.png"]
    assert [str(s.name) for s in find_sources(["a"])] == ["1.JPG", "2.png", "deep/3.png"]
    assert [s.path for s in find_sources(["b/*.png"])] == ["b/4.png", "b/5.png"]
    assert [s.path for s in find_sources(["**/*.png"])][:2] == ["[odd] name?.png", "a/2.png"]
    assert [s.path for s in find_sources(["b/5.png", "b", "b/*.png", "b/4.png"])] == ["b/5.png", "b/4.png"]
    assert [s.path for s in find_sources(["[odd] name?.png"])] == ["[odd] name?.png"]
    assert [s.kind for s in find_sources(["0", "a/note.txt"])] == ["camera", "picture"]
    save(tmp_path / "seven.png").rename("7")
    assert [s.kind for s in find_sources(["7"])] == ["picture"]  # a file of that name goes before the camera


@pytest.mark.parametrize("second", ["./a.png", "folder/../a.png", "{here}/a.png", "{here}", "{here}/*.png"])
def test_a_picture_named_in_two_ways_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "a.png")
    (tmp_path / "folder").mkdir()
    assert [source.path for source in find_sources(["a.png", second.format(here=tmp_path)])] == ["a.png"]


@pytest.mark.parametrize("path", ["none.png", "none/", "*.none", "empty", "texts", "", "-1", "1.5", "9" * 20])
def test_paths_without_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "good.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("no picture")
    with pytest.raises(DataError) as caught:
        run(["good.png", path], tmp_path / "out")
    assert caught.value.exit_code == 3
    assert path in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / "out").exists()
