"""FeatherFace: tiny face detectors with five landmarks.

Importing this package loads no torch, OpenCV or onnx; the names below are loaded when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from featherface_core.version import __version__

if TYPE_CHECKING:
    from featherface_core.config import ModelConfig
    from featherface_core.detect.detector import OnnxDetector, TorchDetector
    from featherface_core.detect.openvino import OpenVinoDetector
    from featherface_core.detect.second_look import SecondLook
    from featherface_core.exporting.export import export
    from featherface_core.models.checkpoint import load_model, load_weights, save_weights
    from featherface_core.models.variants import VARIANTS, build_model
    from featherface_core.pictures import read_picture

_HOMES = {
    "ModelConfig": "featherface_core.config",
    "OnnxDetector": "featherface_core.detect.detector",
    "OpenVinoDetector": "featherface_core.detect.openvino",
    "SecondLook": "featherface_core.detect.second_look",
    "TorchDetector": "featherface_core.detect.detector",
    "VARIANTS": "featherface_core.models.variants",
    "build_model": "featherface_core.models.variants",
    "export": "featherface_core.exporting.export",
    "load_model": "featherface_core.models.checkpoint",
    "load_weights": "featherface_core.models.checkpoint",
    "read_picture": "featherface_core.pictures",
    "save_weights": "featherface_core.models.checkpoint",
}

__all__ = [
    "VARIANTS",
    "ModelConfig",
    "OnnxDetector",
    "OpenVinoDetector",
    "SecondLook",
    "TorchDetector",
    "__version__",
    "build_model",
    "export",
    "load_model",
    "load_weights",
    "read_picture",
    "save_weights",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'featherface_core' has no attribute {name!r}")
