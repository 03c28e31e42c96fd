"""Opening ONNX files with onnxruntime, of this project or any other. Loads onnxruntime when a file is opened, and no torch."""

from pathlib import Path
from typing import Any

from featherface_core.config import check_threads
from featherface_core.errors import ConfigError, WeightsError, first_line
from featherface_core.machine import how_to_install, import_package


def import_onnxruntime() -> Any:
    """The onnxruntime module. Raises MissingPackageError where it is not installed or broken."""
    return import_package("onnxruntime", how_to_install("onnxruntime", "--force-reinstall"))


def session_options(threads: int = 0) -> Any:
    """Options that keep onnxruntime from writing to stderr; threads: of one operator, 0 for its own choice.

    Raises ConfigError for a number of threads out of range, MissingPackageError without onnxruntime.
    """
    check_threads(threads)
    options = import_onnxruntime().SessionOptions()
    options.log_severity_level = 4
    # a memory plan for each input shape takes 20 % more memory and gains less than 1 % of the time
    options.enable_mem_pattern = False
    options.intra_op_num_threads = threads
    return options


def open_session(path: str | Path, options: Any, device: str = "cpu") -> Any:
    """An InferenceSession of an ONNX file. device: cpu, cuda or cuda:N.

    Raises WeightsError for a file that is missing or cannot be loaded, ConfigError for a device that this onnxruntime cannot
    use, MissingPackageError without onnxruntime.
    """
    ort, path = import_onnxruntime(), Path(path)
    if not path.is_file():
        raise WeightsError(f"ONNX file {path} does not exist", "make one with: featherface export")
    provider, settings = provider_of(device)
    try:
        session = ort.InferenceSession(str(path), options, providers=[(provider, settings)])
    except Exception as problem:  # onnxruntime has no common base class for its errors
        raise WeightsError(
            f"onnxruntime cannot load {path}: {first_line(problem)}",
            "check that it is a whole ONNX file; ours are made with: featherface export",
        ) from None
    if provider not in session.get_providers():  # it falls back to the CPU silently
        raise ConfigError(
            f"--device {device}: onnxruntime could not start its {provider}",
            "check the driver and the CUDA libraries, or use --device cpu",
        )
    return session


def open_graph(graph: bytes, options: Any) -> Any:
    """An InferenceSession, on the CPU, of a graph in memory. Raises what onnxruntime raises."""
    return import_onnxruntime().InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def provider_of(device: str) -> tuple[str, dict[str, str]]:
    """onnxruntime's execution provider for a device, and its settings. Raises ConfigError, MissingPackageError."""
    kind, _, number = device.partition(":")
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(kind)
    if provider is None or (number and not number.isdecimal()) or (number and kind == "cpu"):
        raise ConfigError(f"--device {device!r} is none of onnxruntime's here", "use cpu, cuda or cuda:1")
    available = import_onnxruntime().get_available_providers()
    if provider not in available:
        raise ConfigError(
            f"--device {device}: this onnxruntime has no {provider}, only {', '.join(available)}",
            f"{how_to_install('onnxruntime-gpu')}, or use --device cpu",
        )
    return provider, {"device_id": number} if number else {}
