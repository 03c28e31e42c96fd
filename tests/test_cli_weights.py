"""Files of weights that a command cannot use: cut, empty, of another network, or with code in them."""

import pickle
from pathlib import Path

from command_line import Run, assert_refused

from featherface_core.models.variants import build_model


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
