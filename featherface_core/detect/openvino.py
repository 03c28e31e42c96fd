"""Detection in OpenVINO (the extra ``openvino``), with an exported file. Loads no torch and no onnxruntime."""

import xml.etree.ElementTree as ET
from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featherface_core.config import PostprocessConfig, check_threads
from featherface_core.detect.detector import (
    FACES,
    METADATA_KEY,
    OUTPUTS,
    ExportedDetector,
    Outputs,
    by_picture,
    in_parts,
    read_description,
    thresholds,
)
from featherface_core.errors import ConfigError, WeightsError, first_line
from featherface_core.machine import flags, how_to_install, import_package
from featherface_core.results import Floats

# of a layer: the kernels that the CPU plugin tries first (ov::PrimitivesPriority); others follow in its own order
PRIORITY = "primitives_priority"


def has_other_choice(flags: Collection[str]) -> bool:
    """Whether OpenVINO's own choice is not the fastest on a processor with these flags: AVX2 and no AVX-512."""
    return "avx2" in flags and "avx512f" not in flags


def prefer_kernels(xml: bytes, flags: Collection[str]) -> bytes:
    """A network's .xml with the names of the kernels that are fastest on a processor with these flags; ``xml`` itself where
    OpenVINO's own choice is as fast, or where it cannot be read.

    There OpenVINO 2026.4 runs convolutions by matrix kernels ("brgconv") throughout. Older kernels of
    its own are faster for depthwise layers, for 1x1 layers between them, since both then keep one layout, and for the one
    output channel of a spatial gate. docs/performance.md has the gain.
    """
    if not has_other_choice(flags):
        return xml
    try:
        network = ET.fromstring(xml)
    except ET.ParseError:
        return xml  # OpenVINO reports what is wrong with it
    for layer in network.iter("layer"):
        kernel = _kernel(layer)
        if kernel:
            said = layer.find("rt_info")
            if said is None:
                said = ET.Element("rt_info")
                # behind the layer's own settings, where OpenVINO writes it
                layer.insert(1 if layer.find("data") is not None else 0, said)
            ET.SubElement(said, "attribute", {"name": PRIORITY, "version": "0", "value": f"cpu:{kernel}"})
    return bytes(ET.tostring(network))


def _kernel(layer: ET.Element) -> str:
    kind = layer.get("type")
    if kind == "GroupConvolution":
        return "jit_avx2_dw"
    weights = layer.find("input/port[@id='1']")
    if kind != "Convolution" or weights is None:
        return ""
    outputs, _, *window = (int(side.text or 0) for side in weights.findall("dim"))
    if window == [1, 1]:
        return "jit_avx2_1x1"
    return "jit_avx2" if outputs == 1 else ""


class OpenVinoDetector(ExportedDetector):
    """Detection with an OpenVINO file of this project (.xml, its .bin beside it); all constants come from the file.

    threads: CPU threads, 0 for OpenVINO's choice. device: cpu alone. Raises ConfigError for another device, WeightsError for a
    file that is missing, damaged, or not exported by this project, MissingPackageError without the openvino package.

    >>> from featherface_core import OpenVinoDetector, read_picture
    >>> faces = OpenVinoDetector("featherface_v2.xml").detect(read_picture("me.jpg"))  # doctest: +SKIP
    """

    backend = "openvino"
    channels_last = True  # the file's own layout: see exporting.openvino_ir

    def __init__(self, path: str | Path, threads: int = 0, device: str = "cpu") -> None:
        if device != "cpu":
            raise ConfigError(f"--device {device}: OpenVINO files run on the CPU here", "use --device cpu")
        super().__init__(OpenVinoNetwork(path, threads))


class OpenVinoNetwork:
    """The forward pass of an OpenVINO file, in float32; ``description`` is the JSON that its runtime information holds.

    known: the processor's flags, which decide on kernels (see openvino_kernels); by default this processor's.
    """

    def __init__(self, path: str | Path, threads: int = 0, known: Collection[str] | None = None) -> None:
        check_threads(threads)
        path = Path(path)
        for part in (path, path.with_suffix(".bin")):
            if not part.is_file():
                raise WeightsError(
                    f"OpenVINO file {part} does not exist", "make one with: featherface export --format openvino"
                )
        settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_PRECISION_HINT": "f32",
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            model = _read(path, flags() if known is None else known)
            self.description = read_description(path, _metadata(model))
            self.request = core().compile_model(model, "CPU", settings).create_infer_request()
        except RuntimeError as problem:  # all that OpenVINO raises
            raise WeightsError(
                f"openvino cannot load {path}: {reason(problem)}",
                "export it again: featherface export --format openvino",
            ) from None
        pixels = model.inputs[0]  # a file with post-processing has its thresholds behind it
        self.input, shape = pixels.any_name, pixels.partial_shape
        batch, height, width, _ = (int(side.get_length()) if side.is_static else 0 for side in shape)
        self.fixed = (batch, height, width) if shape.is_static else None

    def run(self, pixels: Floats) -> tuple[Floats, Floats, Floats]:
        """One forward pass; a file with a fixed batch runs as often as it takes."""
        return in_parts(lambda part: self._infer({self.input: part}, OUTPUTS), _rows(pixels), self.fixed)

    def find(self, pixels: Floats, post: PostprocessConfig) -> Outputs:
        """As ``ExportedNetwork.find``."""
        limits = thresholds(post)
        return by_picture(lambda part: self._infer({self.input: part, **limits}, FACES), _rows(pixels), self.fixed)

    def _infer(self, feeds: dict[str, NDArray[Any]], outputs: Sequence[str]) -> list[NDArray[Any]]:
        self.request.infer(feeds, share_inputs=True)
        return [np.array(self.request.get_tensor(name).data) for name in outputs]


def _read(path: Path, known: Collection[str]) -> Any:
    """The model of an .xml and the .bin beside it, with the kernels that fit a processor with these flags."""
    xml = path.read_bytes()
    fitting = prefer_kernels(xml, known)
    if fitting is xml:
        return core().read_model(path)
    return core().read_model(fitting, path.with_suffix(".bin").read_bytes())


def _rows(pixels: Floats) -> Floats:
    """(N, 3, H, W) as (N, H, W, 3): without a copy where memory has this layout already, as Detector.prepare makes it for this
    network."""
    return np.ascontiguousarray(np.moveaxis(pixels, 1, 3))


def import_openvino() -> Any:
    """The openvino module. Raises MissingPackageError where it is not installed or broken."""
    return import_package("openvino", how_to_install("openvino"))


@cache
def core() -> Any:
    """OpenVINO's runtime, one for this process and to its end.

    With 2026.4, a process that has released two cores is killed by its next signal, such as that of a child's end (the CPU
    plugin's signal stack is freed and stays set).
    """
    return import_openvino().Core()


def _metadata(model: Any) -> dict[str, str]:
    if not model.has_rt_info([METADATA_KEY]):
        return {}
    return {METADATA_KEY: model.get_rt_info([METADATA_KEY]).astype(str)}


def reason(problem: RuntimeError) -> str:
    """The message of an OpenVINO error: its last line; the lines before are places in OpenVINO's source."""
    lines = [line for line in str(problem).splitlines() if line.strip()]
    return lines[-1].strip() if lines else first_line(problem)
