"""The deployment package: a folder with an ONNX file and all that is needed to find faces with it."""

import hashlib
import inspect
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from featherface_core import boxes, pictures
from featherface_core.config import MIN_SIZE, UNTRAINED
from featherface_core.detect.detector import THRESHOLDS, holds_postprocess
from featherface_core.errors import ExportError
from featherface_core.exporting import usage_faces, usage_network, usage_template
from featherface_core.files import make_folder
from featherface_core.results import ExportReport
from featherface_core.version import __version__

CONFIG_FILE = "deployment_config.json"
SUMS_FILE = "SHA256SUMS"
# what the example is made of besides its template, for files without and with post-processing
NETWORK = (
    boxes.make_anchors,
    boxes.decode_boxes,
    boxes.decode_landmarks,
    boxes.nms,
    boxes.postprocess,
    usage_network.find_faces,
)
FACES = (usage_faces.find_faces,)


def write_package(
    folder: Path, onnx_file: Path, weights_file: Path, description: dict[str, Any], report: ExportReport
) -> tuple[str, ...]:
    """Write model.onnx, the weights, deployment_config.json, usage_example.py, README.md and SHA256SUMS into ``folder``.

    description: the metadata of the ONNX file. report: the verification, for the config. Files of an earlier package are
    replaced; other files are not changed. Returns the file names. Raises as ``check_folder``.
    """
    folder = check_folder(folder, besides=onnx_file)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".package.") as scratch:
        new = Path(scratch)
        shutil.copyfile(onnx_file, new / "model.onnx")
        shutil.copyfile(weights_file, new / "weights.safetensors")
        _write(new / CONFIG_FILE, json.dumps(_config(description, report), indent=2) + "\n")
        _write(new / "usage_example.py", usage_example(holds_postprocess(description)))
        _write(new / "README.md", _readme(description, report))
        names = sorted(path.name for path in new.iterdir())
        _write(new / SUMS_FILE, "".join(f"{_sha256(new / name)}  {name}\n" for name in names))
        (folder / SUMS_FILE).unlink(missing_ok=True)  # moved last: without it the folder is incomplete
        for name in (*names, SUMS_FILE):
            (new / name).replace(folder / name)
    return (*names, SUMS_FILE)


def check_folder(folder: Path, besides: Path) -> Path:
    """Make the folder of a package, or accept one that is empty or holds an earlier package; links are followed.

    besides: the exported file, which may lie in the folder too.

    Raises ExportError for a file, a folder that holds something else, or one that cannot be written to.
    """
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"--package {folder} is a file, not a folder", "name a folder")
    if (
        folder.is_dir()
        and not (folder / CONFIG_FILE).is_file()
        and any(path.resolve() != besides.resolve() for path in folder.iterdir())
    ):
        raise ExportError(f"folder {folder} holds files of something else", "name a new or an empty folder")
    return make_folder(folder, ExportError).resolve()


def usage_example(with_postprocess: bool = False) -> str:
    """``usage_template.py`` with the imports from this package replaced by the code that they import, so that it needs no other
    file."""
    text = inspect.getsource(usage_template)
    of_anchors = () if with_postprocess else ("STRIDES", "ANCHOR_SIZES", "VARIANCES")
    constants = [f"{name} = {getattr(boxes, name)!r}" for name in of_anchors] + [
        f"MEAN = {pictures.MEAN!r}",
        f"MIN_SIZE = {MIN_SIZE}",
    ]
    embedded = FACES if with_postprocess else NETWORK
    functions = [inspect.getsource(function) for function in (pictures.resized, pictures.prepare, *embedded)]
    start = text.index("from featherface_core")
    end = text.index("\n\n", start)
    text = text[:start] + "from numpy.typing import NDArray" + text[end:]
    text = text.replace("import onnxruntime\n\nfrom numpy", "import onnxruntime\nfrom numpy")
    place = text.index("HERE = ")
    types = ["Floats = NDArray[np.float32]", "Picture = NDArray[np.uint8]"]
    head = "\n".join([*types, *constants]) + "\n\n\n" + "\n\n".join(functions)
    return text[:place] + head + "\n\n" + text[place:]


def _config(description: dict[str, Any], report: ExportReport) -> dict[str, Any]:
    return {
        **description,
        "files": {"network": "model.onnx", "weights": "weights.safetensors"},
        "input": {"name": "input", "dynamic": report.dynamic, "opset": report.opset},
        "verified": [
            {
                "batch": c.batch,
                "height": c.height,
                "width": c.width,
                "anchors": c.expected,
                "largest_relative_difference": c.onnx_error,
                "faces": c.faces[1],
            }
            for c in report.checks
        ],
    }


def _readme(description: dict[str, Any], report: ExportReport) -> str:
    gives = "\n".join(f"  - `{name}` {meaning}" for name, meaning in description["outputs"].items())
    if holds_postprocess(description):
        limits = ", ".join(f"`{name}` ({description['postprocess'][name]:g})" for name in THRESHOLDS)
        gives += f"\n\n  Further inputs, scalars that may be left out, and their values then: {limits}."
    sizes = ", ".join(dict.fromkeys(f"{c.height}x{c.width}" for c in report.checks))
    worst = max(c.onnx_error for c in report.checks)
    caution = (
        "\n**These weights are untrained: the files show how deployment works, and find no faces.**\n"
        if report.weights == UNTRAINED
        else ""
    )
    free = "any batch, height and width of 32 or more" if report.dynamic else "one fixed size"
    return f"""# FeatherFace {report.model}, ready to deploy

Written by FeatherFace {__version__} from {description["weights"]}.
{caution}
    pip install numpy opencv-python "onnxruntime>=1.25"
    python usage_example.py PICTURE

`usage_example.py` prints one JSON line a face (box x1, y1, x2, y2, score, five landmarks, in pixels of the picture) and
draws them into faces.jpg. It needs none of FeatherFace's own packages.

- `model.onnx`: {free}, opset {report.opset}, {report.deform_nodes} DeformConv nodes. Input: BGR, float32, mean
  {tuple(description["constants"]["mean"])} subtracted, NCHW. The same constants stand in its metadata under `featherface`.
  Outputs:
{gives}
- `weights.safetensors`: the weights it was made from, for `featherface export` and `detect`.
- `deployment_config.json`: pre- and post-processing, and the proof: the raw outputs were within {worst:.1e} (relative)
  of PyTorch in float64, and the same faces were found, at these heights x widths:
  {sizes}.
- `SHA256SUMS`: check with `sha256sum -c SHA256SUMS`.
"""


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
