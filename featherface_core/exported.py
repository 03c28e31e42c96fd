"""An exported file and the runtime that its suffix stands for."""

from pathlib import Path
from typing import TYPE_CHECKING

from featherface_core.detect import OnnxDetector

if TYPE_CHECKING:
    from featherface_core.openvino import OpenVinoDetector


def open_exported(path: Path, threads: int = 0) -> "OnnxDetector | OpenVinoDetector":
    """The detector of an exported file: .xml through OpenVINO, anything else through onnxruntime.

    threads: CPU threads, 0 for the runtime's choice. Raises WeightsError, MissingPackageError.
    """
    if path.suffix.lower() == ".xml":
        from featherface_core.openvino import OpenVinoDetector

        return OpenVinoDetector(path, threads)
    return OnnxDetector(path, threads)
