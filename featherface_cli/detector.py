"""From --weights, --onnx and --model to the network that a command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherface_core.config import SAME, UNTRAINED, ModelConfig, with_values
from featherface_core.errors import ConfigError

if TYPE_CHECKING:
    from featherface_core.detect.detector import Detector, TorchDetector
    from featherface_core.detect.second_look import SecondLook
    from featherface_core.evaluation.report import Subject


def open_source(weights: str | None, model: str | None, quiet: bool, trained: bool = False) -> Any:
    """Weights as read, those that ship where none are named, or an untrained network, said so.

    trained: a variant that no weights ship for is an error, not an untrained network. Raises ConfigError, WeightsError.
    """
    from featherface_cli.screens.console import note
    from featherface_core.models.checkpoint import load_weights
    from featherface_core.models.variants import DEFAULT, SHIPPED, build_model, resolve_model, shipped_weights

    expect: ModelConfig | None = resolve_model(model) if model else None
    if weights and weights != UNTRAINED:
        return load_weights(weights, expect)
    config = expect or resolve_model(DEFAULT)
    if not weights:
        path = shipped_weights(config)
        if path is not None:
            return load_weights(path, config)
        if trained:
            raise ConfigError(
                f"no weights ship for {config.name!r}, only for {' and '.join(SHIPPED)}",
                "add --weights FILE; --weights untrained runs a random network",
            )
    note(f"no trained weights: this {config.name} is a random network (seed 0) and finds no faces", quiet)
    return build_model(config, seed=0)


def open_detector(
    weights: str | None, onnx: Path | None, model: str | None, device: str, threads: int, quiet: bool
) -> "tuple[Detector, Subject]":
    """The detector and what there is to say of it. Raises ConfigError, WeightsError."""
    from featherface_core.detect.open_exported import open_exported
    from featherface_core.evaluation.report import Subject

    if onnx is not None:
        from featherface_core.models.budget import count_parameters

        if weights or model:
            raise ConfigError(
                "--onnx brings its own network; --weights and --model do not go with it", "leave them out"
            )
        found = open_exported(onnx, threads, device)
        config = with_values(ModelConfig(), found.description["model"], str(onnx))
        digest = _digest(onnx)
        parameters = sum(count_parameters(config).values())
        words = f"{onnx.name}, of {found.weights}"
        return found, Subject(found.model, words, digest, found.backend, device, parameters)
    source = open_source(weights, model, quiet, trained=True)
    name, digest, made = _torch_detector(source, device, threads)
    parameters = sum(p.numel() for p in made.network.model.parameters())
    return made, Subject(made.model, name, digest, made.backend, device, parameters)


def open_second_look(by: str | None, detector: "Detector", device: str, threads: int) -> "SecondLook | None":
    """What ``--landmarks-by`` names: SAME, a variant that weights ship for, a weights file or an exported one.

    Raises ConfigError, WeightsError.
    """
    if not by:
        return None
    from featherface_core.detect.open_exported import open_exported
    from featherface_core.detect.second_look import SecondLook
    from featherface_core.models.variants import SHIPPED

    path = Path(by)
    if by == SAME:
        return SecondLook(detector)
    if path.suffix.lower() in (".onnx", ".xml"):
        found = open_exported(path, threads, device)
        return SecondLook(found, f"{found.model}, {path.name} (sha256 {_digest(path)[:12]})")
    if by not in SHIPPED and not path.suffix and not path.exists():
        raise ConfigError(
            f"--landmarks-by {by!r} is no file, nor a variant that weights ship for",
            f"use {SAME}, {', '.join(SHIPPED)}, or a weights or exported file",
        )
    named, variant = (None, by) if by in SHIPPED else (by, None)
    return SecondLook(_torch_detector(open_source(named, variant, quiet=True), device, threads)[2])


def _digest(exported: Path) -> str:
    """SHA-256 of what holds an exported network's weights."""
    import hashlib

    from featherface_core.detect.open_exported import weights_of

    return hashlib.sha256(weights_of(exported).read_bytes()).hexdigest()


def _torch_detector(source: Any, device: str, threads: int) -> "tuple[str, str, TorchDetector]":
    """Of weights as read, or of an untrained network: its name and checksum too."""
    from featherface_core.detect.detector import TorchDetector
    from featherface_core.models.checkpoint import Weights, model_of

    if not isinstance(source, Weights):
        return UNTRAINED, "", TorchDetector(source, device, threads, UNTRAINED)
    name, digest = source.path.name, source.sha256
    return name, digest, TorchDetector(model_of(source), device, threads, f"{name} (sha256 {digest[:12]})")
