"""Opening exported files: their suffix names the runtime."""

from pathlib import Path

from featherface_core.detect.detector import ExportedDetector, OnnxDetector


def is_openvino(path: Path) -> bool:
    """Whether a file is for OpenVINO, by its suffix."""
    return path.suffix.lower() == ".xml"


def weights_of(path: Path) -> Path:
    """The file that holds an exported network's weights: OpenVINO's .xml has them in the .bin beside it."""
    return path.with_suffix(".bin") if is_openvino(path) else path


def open_exported(path: Path, threads: int = 0, device: str = "cpu") -> ExportedDetector:
    """The detector of an exported file: .xml in OpenVINO, anything else in onnxruntime.

    threads: CPU threads, 0 for the runtime's choice. device: cpu; cuda or cuda:1 where onnxruntime has CUDA. Raises ConfigError
    for a device that the runtime cannot use, WeightsError, MissingPackageError.
    """
    if is_openvino(path):
        from featherface_core.detect.openvino import OpenVinoDetector

        return OpenVinoDetector(path, threads, device)
    return OnnxDetector(path, threads, device)
