"""From --weights, --onnx and --model to the network that a command runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from featherface_core.config import UNTRAINED, ModelConfig
from featherface_core.errors import ConfigError

if TYPE_CHECKING:
    from featherface_core.detect import Detector
    from featherface_core.evaluation.report import Subject


def open_source(weights: str | None, model: str | None, quiet: bool, trained: bool = False) -> Any:
    """Weights as read, those that ship where none are named, or an untrained network, said so.

    trained: a variant that no weights ship for is an error, not an untrained network. Raises ConfigError, WeightsError.
    """
    from featherface_cli.render import note
    from featherface_core.checkpoint import load_weights
    from featherface_core.models.variants import build_model, resolve_model
    from featherface_core.shipped import DEFAULT, SHIPPED, shipped_weights

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
    from featherface_core.detect import TorchDetector
    from featherface_core.evaluation.report import Subject
    from featherface_core.exported import open_exported, weights_of

    if onnx is not None:
        import hashlib

        from featherface_core.config import with_values
        from featherface_core.models.budget import count_parameters

        if weights or model:
            raise ConfigError(
                "--onnx brings its own network; --weights and --model do not go with it", "leave them out"
            )
        found = open_exported(onnx, threads)
        config = with_values(ModelConfig(), found.description["model"], str(onnx))
        digest = hashlib.sha256(weights_of(onnx).read_bytes()).hexdigest()
        parameters = sum(count_parameters(config).values())
        words = f"{onnx.name}, of {found.weights}"
        return found, Subject(found.model, words, digest, found.backend, "cpu", parameters)
    source = open_source(weights, model, quiet, trained=True)
    from featherface_core.checkpoint import Weights, model_of

    if isinstance(source, Weights):
        name, digest, network = source.path.name, source.sha256, model_of(source)
        made = TorchDetector(network, device, threads, f"{name} (sha256 {digest[:12]})")
    else:
        name, digest, network = UNTRAINED, "", source
        made = TorchDetector(network, device, threads, UNTRAINED)
    parameters = sum(p.numel() for p in network.parameters())
    return made, Subject(made.model, name, digest, made.backend, device, parameters)
