"""The doctor on networks: parameter counts, weights of the user and those that ship, and the export."""

import numpy as np
import pytest
from doctor_reports import one

from featherface_core import doctor
from featherface_core.doctor import toolkit as models
from featherface_core.results import Detections


@pytest.mark.usefixtures("imports_well")
def test_a_wrong_parameter_count_is_found(monkeypatch):
    monkeypatch.setitem(models.PARAMETERS, "v2", 256_157)
    monkeypatch.delitem(models.PARAMETERS, "v1-24")
    report = doctor.run_doctor(only=["models"])
    verdicts = {f.check: f.verdict for f in report.findings}
    assert verdicts == {"v1": "ok", "v1-original": "ok", "v1-24": "warn", "v1-56": "ok", "v2": "fail"}
    assert "256,156 parameters instead of 256,157" in one(report, "v2").found


@pytest.mark.usefixtures("imports_well")
def test_weights_are_read_and_tried(tmp_path):
    from featherface_core import VARIANTS, build_model, save_weights

    model = build_model("v2", seed=0)
    for head in model.heads:
        head.classes.bias.data[1::2] = -100  # of the scores for a face
    path = save_weights(tmp_path / "v2.safetensors", model.state_dict(), VARIANTS["v2"])
    read, portrait = doctor.run_doctor(only=["weights"], skip=["shipped"], weights=path).findings
    assert read.verdict == "ok"
    assert "v2.safetensors: v2, featherface names, " in read.found
    assert "sha256 " in read.found
    assert portrait.verdict == "warn"
    assert portrait.found.startswith("0 faces found in the shipped portrait")


@pytest.mark.usefixtures("imports_well")
@pytest.mark.parametrize(("faces", "verdict"), [(0, "warn"), (1, "ok"), (3, "ok"), (750, "warn")])
def test_faces_in_the_portrait(faces, verdict, weights, monkeypatch):
    from featherface_core import TorchDetector

    found = Detections(np.zeros((faces, 4)), np.zeros(faces), np.zeros((faces, 5, 2)))
    monkeypatch.setattr(TorchDetector, "detect", lambda *_: found)
    _, finding = doctor.run_doctor(only=["weights"], skip=["shipped"], weights=weights).findings
    assert finding.verdict == verdict
    assert finding.found.startswith(f"{faces} face")
    assert bool(finding.fix) == (verdict == "warn")


@pytest.mark.usefixtures("imports_well")
@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "does not exist"), (b"", "is empty"), (b"PK\x03\x04 cut short", "damaged"), (b"hello", "not a")],
)
def test_weights_that_cannot_be_read(tmp_path, content, says):
    path = tmp_path / "weights.pth"
    if content is not None:
        path.write_bytes(content)
    (finding,) = doctor.run_doctor(only=["weights"], skip=["shipped"], weights=path).findings
    assert finding.verdict == "fail"
    assert says in finding.found
    assert "crashed" not in finding.found
    assert finding.fix


@pytest.mark.usefixtures("imports_well")
def test_without_a_weights_file_the_doctor_says_how():
    *_, finding = doctor.run_doctor(only=["weights"]).findings
    assert (finding.verdict, finding.fix) == ("skip", "featherface doctor --weights FILE")


@pytest.mark.usefixtures("imports_well")
def test_the_weights_that_ship_find_the_face():
    v1, v2 = doctor.run_doctor(only=["shipped"]).findings
    for name, finding in (("v1", v1), ("v2", v2)):
        assert finding.verdict == "ok"
        assert finding.found.startswith(f"{name}.safetensors: {name}, featherface names, ")
        assert finding.found.endswith("; 1 face found in the shipped portrait, which shows 1")


@pytest.mark.usefixtures("imports_well")
def test_shipped_weights_that_are_lost_or_find_nothing(tmp_path, monkeypatch):
    from featherface_core import VARIANTS, build_model, save_weights
    from featherface_core.models import variants as shipped

    monkeypatch.setattr(shipped, "_FOLDER", tmp_path)
    (finding,) = doctor.run_doctor(only=["shipped"]).findings
    assert (finding.verdict, finding.check) == ("fail", "shipped")
    assert "v1.safetensors does not exist" in finding.found
    for name in shipped.SHIPPED:
        model = build_model(name, seed=0)
        for head in model.heads:
            head.classes.bias.data[1::2] = -100
        save_weights(tmp_path / f"{name}.safetensors", model.state_dict(), VARIANTS[name])
    findings = doctor.run_doctor(only=["shipped"]).findings
    assert [finding.verdict for finding in findings] == ["warn", "warn"]
    # a registry may have another project of this name
    wanted = "install again, in the project's folder: pip install --force-reinstall --no-deps ."
    assert [finding.fix for finding in findings] == [wanted] * 2


@pytest.mark.usefixtures("imports_well")
def test_an_export_that_differs_is_a_failure_with_its_sizes(monkeypatch):
    import featherface_core.exporting.export as module
    from featherface_core.errors import ExportError

    def refuse(*arguments: object) -> None:
        raise ExportError("1 of 2 checks failed", "look at the sizes", ["97x65, batch 1: raw outputs differ"])

    monkeypatch.setattr(module, "export", refuse)
    (finding,) = doctor.run_doctor(only=["export"]).findings
    assert finding.verdict == "fail"
    assert finding.found == "1 of 2 checks failed; 97x65, batch 1: raw outputs differ"
    assert finding.fix == "look at the sizes"


@pytest.mark.slow
def test_export_round_trip():
    (finding,) = doctor.run_doctor(only=["export"]).findings
    assert finding.verdict == "ok"
    assert "64x64, 97x65" in finding.found
    assert "largest difference" in finding.found
