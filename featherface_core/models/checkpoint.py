"""Reading and writing weights: our safetensors files, and published .pth/.tar files, safely (no pickled code is run)."""

import hashlib
import json
import pickle
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from featherface_core.config import ModelConfig, with_values
from featherface_core.errors import ConfigError, WeightsError, did_you_mean, first_sentence
from featherface_core.files import replacing
from featherface_core.models import upstream
from featherface_core.models.narrow import can_narrow, narrow
from featherface_core.models.variants import SHIPPED, VARIANTS, build_model, find_weights
from featherface_core.results import ConversionReport

if TYPE_CHECKING:
    from featherface_core.models.featherface import FeatherFace


SCHEMA = "1"
COUNTER = "num_batches_tracked"  # of batch normalisations
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Weights:
    """A weights file as read: the network it is for, its tensors under our names, and where it came from.

    state: float32 and integer tensors on the CPU. layout: ``featherface`` or ``upstream``. sha256: of the file. cast: the
    types that were turned into float32 in reading, or "".
    """

    config: ModelConfig
    state: dict[str, Tensor]
    path: Path
    layout: str
    sha256: str
    cast: str = ""


def load_weights(path: str | Path, expect: ModelConfig | None = None) -> Weights:
    """Read a weights file and recognise its network from the names and shapes it holds.

    path: a .safetensors of ours, or a published .pth/.tar: saved from any device, plain or wrapped under
    ``model_state_dict``, ``state_dict`` or ``model``, with or without ``module.`` prefixes and profiler buffers; or the name
    of weights that ship, such as ``v2``.
    expect: the network it must fit; without it, the file's own record or the named variant that fits.

    Raises WeightsError (exit code 4): a file that is missing, empty, broken or not a weights file; tensors missing,
    unexpected, misshapen or not finite, all listed in ``details``, with the variant that would have fitted.
    """
    path = find_weights(path)
    state, recorded = _read(path)
    if recorded is not None and expect is not None and _architecture(recorded) != _architecture(expect):
        raise WeightsError(
            f"{path} holds weights of {recorded.name!r}, not of {expect.name!r}",
            f"use --model {recorded.name}, or leave --model out" if recorded.name in VARIANTS else "leave --model out",
        )
    layout, config, state = _recognise(path, state, recorded or expect)
    # all are plain floats, except the batch counters of the normalisations
    foreign = [
        f"{name}: {t.dtype}, {t.layout}"
        for name, t in state.items()
        if t.layout != torch.strided or t.is_quantized or t.is_floating_point() == name.endswith(COUNTER)
    ]
    if foreign:
        raise WeightsError(
            f"{path}: {len(foreign)} tensors are not plain floats, the first is {foreign[0]}",
            "save the weights as float32 or float16",
            foreign,
        )
    cast = sorted({str(t.dtype).removeprefix("torch.") for t in state.values() if t.is_floating_point()} - {"float32"})
    state = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    broken = [name for name, t in state.items() if t.is_floating_point() and not bool(torch.isfinite(t).all())]
    if broken:
        raise WeightsError(
            f"{path}: {len(broken)} tensors hold NaN or infinity, the first is {broken[0]}",
            "take an earlier checkpoint: this training had diverged",
            broken,
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Weights(config, state, path, layout, digest, ", ".join(cast))


def load_model(path: str | Path, expect: ModelConfig | None = None, device: str = "cpu") -> "FeatherFace":
    """The network of a weights file, in evaluation mode. Arguments and errors as in ``load_weights``."""
    return model_of(load_weights(path, expect), device)


def load_start(model: "FeatherFace", path: str | Path) -> str:
    """Fill ``model`` from a file to start training from, and return in words what was taken.

    path: the ImageNet backbone (upstream's mobilenetV1X0.25_pretrain.tar), of which everything but the classifier is used; or
    a detector's weights of any variant: all of it where the networks are the same, the strongest channels of a wider one of the
    same family (see narrow), else the backbone, which all share. The name of weights that ship stands for their file.
    Raises WeightsError as ``load_weights`` does.
    """
    path = find_weights(path)
    try:
        weights = load_weights(path)
    except WeightsError:
        state = _imagenet_backbone(path, model)
        if state is None:
            raise
        model.load_state_dict(state, strict=False)
        return f"backbone from ImageNet ({path.name})"
    return start_from(model, weights.state, weights.config, path.name)


def start_from(
    model: "FeatherFace", state: Mapping[str, Tensor], config: ModelConfig, name: str, backbone_only: bool = False
) -> str:
    """As ``load_start``, from tensors under our names that belong to a network of ``config``."""
    if not backbone_only and _architecture(config) == _architecture(model.config):
        model.load_state_dict(dict(state))
        return f"all weights of {name}"
    if not backbone_only and can_narrow(config, model.config):
        fresh = narrow(state, config, model)
        strongest = f"the strongest {model.config.width} of {config.width} channels of {config.name} ({name})"
        return f"{strongest}, {' and '.join(fresh)} new" if fresh else strongest
    backbone = {key: t for key, t in state.items() if key.startswith("backbone.")}
    model.load_state_dict(backbone, strict=False)
    return f"backbone of {config.name} ({name})"


def _imagenet_backbone(path: Path, model: "FeatherFace") -> dict[str, Tensor] | None:
    """The backbone's tensors under our names where the file is a MobileNetV1 x0.25 classifier, else None."""
    classifier = upstream.clean(_read(path)[0])
    if not any(name.startswith("fc.") for name in classifier):
        return None
    published = {f"body.{name}" if name.startswith("stage") else name: t for name, t in classifier.items()}
    wanted = {name: t for name, t in model.state_dict().items() if name.startswith("backbone.")}
    state = {}
    for ours, theirs in upstream.to_upstream(wanted, model.config).items():
        found = published.get(theirs, _counter() if theirs.endswith(COUNTER) else None)
        if found is None or found.shape != wanted[ours].shape or not bool(torch.isfinite(found).all()):
            return None
        state[ours] = found
    return state


def model_of(weights: Weights, device: str = "cpu") -> "FeatherFace":
    """The network of weights already read, in evaluation mode."""
    model = build_model(weights.config)
    model.load_state_dict(weights.state)
    return model.to(device)


def save_weights(
    path: str | Path, state: Mapping[str, Tensor], config: ModelConfig, notes: Mapping[str, str] | None = None
) -> Path:
    """Write tensors under our names as .safetensors, atomically, with the configuration and ``notes`` in its metadata."""
    from safetensors.torch import save

    path = Path(path)
    metadata = {
        "format": "featherface",
        "schema": SCHEMA,
        "model": json.dumps(asdict(config)),
        **(notes or {}),
    }
    with replacing(path, WeightsError) as temporary:
        temporary.write_bytes(save({name: t.detach().contiguous().cpu() for name, t in state.items()}, metadata))
    return path


def read_notes(path: str | Path) -> dict[str, str]:
    """The notes that ``save_weights`` wrote into a .safetensors file."""
    from safetensors import safe_open

    with safe_open(str(path), "pt") as file:
        metadata: dict[str, str] = file.metadata() or {}
    return {name: value for name, value in metadata.items() if name not in ("format", "schema", "model")}


def save_upstream(path: str | Path, weights: Weights) -> Path:
    """Write tensors under upstream's names, as upstream's own loaders read them."""
    path = Path(path)
    names = upstream.to_upstream(weights.state, weights.config)
    with replacing(path, WeightsError) as temporary:
        torch.save({names[name]: t for name, t in weights.state.items()}, temporary)
    return path


def convert(weights: Weights, path: str | Path, layout: str) -> ConversionReport:
    """Write weights as ``featherface`` (.safetensors) or ``upstream`` (.pth) tensors, bit for bit.

    Upstream's layout records no configuration: the report's note says so where the network would not be recognised.
    """
    path = Path(path)
    if layout == "upstream":
        save_upstream(path, weights)
    else:
        save_weights(path, weights.state, weights.config, {"source_sha256": weights.sha256})
    notes = [f"read as float32 from {weights.cast}"] if weights.cast else []
    if layout == "upstream" and _architecture(weights.config) not in map(_architecture, VARIANTS.values()):
        notes.append("this layout records no network: load the file with --model and the variant's YAML")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    model, tensors = weights.config.name, len(weights.state)
    return ConversionReport(str(path), model, weights.layout, layout, tensors, len(data), digest, "; ".join(notes))


def _read(path: Path) -> tuple[dict[str, Tensor], ModelConfig | None]:
    """Tensors under the file's own names, and the configuration that our files carry."""
    if not path.is_file():
        reason = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsError(f"weights file {path} {reason}", _hint(path))
    try:
        with path.open("rb") as stream:
            head = stream.read(9)
    except OSError as problem:
        raise WeightsError(f"cannot read {path}: {problem.strerror}", "check the file's permissions") from None
    if not head:
        raise WeightsError(f"weights file {path} is empty (0 bytes)", "copy or download it again")
    if head[8:9] == b"{":
        return _read_safetensors(path)
    if head[:2] == b"PK" and not zipfile.is_zipfile(path):
        raise WeightsError(f"{path} is a damaged weights file: its end is missing", "copy or download it again")
    if head[:2] == b"PK" or head[:1] == b"\x80":
        return _read_torch(path), None
    if path.suffix == ".onnx":
        raise WeightsError(f"{path} is an ONNX file, not weights", f"use --onnx {path}")
    raise WeightsError(
        f"{path} is not a weights file: it begins with {head[:8]!r}",
        "give a .safetensors, or a .pth/.tar saved by torch.save",
    )


def _hint(path: Path) -> str:
    """What to give in place of a file that does not exist; where it looks like a name, the names that ship."""
    if path.suffix or len(path.parts) > 1 or path.is_dir():
        return "give a .safetensors, .pth or .tar file"
    return f"give a .safetensors, .pth or .tar file, or weights that ship; {did_you_mean(path.name, SHIPPED)}"


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], ModelConfig | None]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            state = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a mapping)
            metadata = stored.metadata() or {}
    except (SafetensorError, OSError, ValueError) as problem:
        raise WeightsError(f"{path} is a damaged safetensors file: {problem}", "copy or download it again") from None
    if "model" not in metadata:
        return state, None
    try:
        return state, with_values(ModelConfig(), json.loads(metadata["model"]), str(path))
    except (ConfigError, ValueError, TypeError) as problem:
        raise WeightsError(
            f"{path} describes a network that this version cannot build: {problem}",
            "use the version that wrote it",
        ) from None


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickle protocols; real problems raise an error
            loaded: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as problem:
        if "weights_only" in str(problem) or "Unsupported" in str(problem):
            raise WeightsError(
                f"{path} holds pickled code or objects, not plain tensors; it was not run",
                "save a state dict where the file came from: torch.save(model.state_dict(), 'weights.pth')",
            ) from None
        raise WeightsError(
            f"{path} is a damaged weights file: {first_sentence(problem)}", "copy or download it again"
        ) from None
    except Exception as problem:  # torch raises whatever its unpickler meets in a truncated or foreign file
        raise WeightsError(
            f"{path} is a damaged weights file: {first_sentence(problem)}", "copy or download it again"
        ) from None
    for wrapper in upstream.WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
            break
    tensors = {k: v for k, v in loaded.items() if isinstance(v, Tensor)} if isinstance(loaded, Mapping) else {}
    if not tensors:
        raise WeightsError(
            f"{path} holds no tensors by name (found: {type(loaded).__name__})",
            "give a state dict, plain or under 'state_dict', 'model_state_dict' or 'model'",
        )
    return tensors


def _recognise(
    path: Path, state: dict[str, Tensor], expect: ModelConfig | None
) -> tuple[str, ModelConfig, dict[str, Tensor]]:
    """Which layout and network the tensors are, and the tensors under our names."""
    published = upstream.clean(state)
    found: dict[str, Shapes] = {
        "featherface": {name: tuple(t.shape) for name, t in state.items()},
        "upstream": {name: tuple(t.shape) for name, t in published.items()},
    }
    candidates = [expect] if expect is not None else list(VARIANTS.values())
    for config in candidates:
        for layout, names in _layouts(config).items():
            if not _differences(found[layout], names[1]):
                source = state if layout == "featherface" else published
                return layout, config, {ours: source.get(theirs, _counter()) for ours, theirs in names[0].items()}
    raise _misfit(path, found, candidates)


@lru_cache(maxsize=32)
def _layouts(config: ModelConfig) -> dict[str, tuple[dict[str, str], Shapes]]:
    """For each layout: our name to the file's, and the file's name to the shape."""
    shapes = {name: tuple(t.shape) for name, t in build_model(config, device="meta").state_dict().items()}
    theirs = upstream.to_upstream(shapes, config)
    return {
        "featherface": ({name: name for name in shapes}, shapes),
        "upstream": (theirs, {theirs[name]: shape for name, shape in shapes.items()}),
    }


def _differences(found: Shapes, wanted: Shapes) -> list[str]:
    missing = [
        f"missing: {name} {list(wanted[name])}"
        for name in wanted
        if name not in found and not name.endswith(COUNTER)  # old files lack them, and evaluation does not use them
    ]
    unexpected = [f"unexpected: {name} {list(found[name])}" for name in found if name not in wanted]
    misshapen = [
        f"misshapen: {name} is {list(found[name])}, should be {list(wanted[name])}"
        for name in wanted
        if name in found and found[name] != wanted[name]
    ]
    return missing + unexpected + misshapen


def _misfit(path: Path, found: dict[str, Shapes], candidates: list[ModelConfig]) -> WeightsError:
    """The error for tensors that fit none of the candidates, compared with the closest one."""
    if set(found["upstream"]) and all(name.startswith(("body.", "stage", "fc.")) for name in found["upstream"]):
        return WeightsError(
            f"{path} holds the ImageNet backbone alone, not a detector",
            "it is a start for training: featherface train --init FILE",
        )
    attempts = [
        (config, _differences(found[layout], shapes))
        for config in candidates
        for layout, (_, shapes) in _layouts(config).items()
    ]
    config, differences = min(attempts, key=lambda attempt: len(attempt[1]))
    counts = ", ".join(
        f"{n} {kind}"
        for kind in ("missing", "unexpected", "misshapen")
        if (n := sum(d.startswith(kind) for d in differences))
    )
    fits = [
        name
        for name, other in VARIANTS.items()
        if any(not _differences(found[layout], shapes) for layout, (_, shapes) in _layouts(other).items())
    ]
    if fits:
        hint = f"they are weights of {fits[0]!r}: use --model {fits[0]}, or leave --model out"
    else:
        hint = "if it is a variant of your own, name its YAML file with --model"
    return WeightsError(f"{path} does not fit {config.name!r}: {counts} tensors", hint, differences)


def _counter() -> Tensor:
    return torch.tensor(0)


def _architecture(config: ModelConfig) -> dict[str, Any]:
    return {key: value for key, value in asdict(config).items() if key != "name"}
