"""Configuration: frozen dataclasses, and a YAML reader that names the key that is wrong. Imports no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from featherface_core.errors import ConfigError, ParameterError, did_you_mean, first_line

UNTRAINED = "untrained"  # stands where the weights are named, for a random network
SAME = "same"  # stands where the network of a second look is named, for the detecting one
SYNTHETIC = "synthetic"  # stands where a data set is named, for drawn faces
MIN_SIZE = 32  # the coarsest stride: below it the last feature map would be empty

AttentionKind = Literal["none", "cbam", "shared-cbam"]
NeckKind = Literal["bifpn", "bifpn-light"]
ContextKind = Literal["deformable", "plain", "grouped"]
ShuffleKind = Literal["none", "groups-2", "groups-half", "bottleneck", "light"]

Config = TypeVar("Config")


def check_choice(name: str, value: object, kind: Any) -> None:
    """Raise ConfigError unless ``value`` is one of the Literal ``kind``."""
    choices = get_args(kind)
    if value not in choices:
        raise ConfigError(f"{name} {value!r} is not known", did_you_mean(str(value), choices))


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise ConfigError unless ``value`` is a number from ``low`` to ``high``; a whole one where ``low`` is an int."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} {value!r} is not a number", f"use a number from {low} to {high}")
    if isinstance(low, int) and not isinstance(value, int):
        raise ConfigError(f"{name} {value!r} is not a whole number", f"use {low} to {high}")
    if not low <= value <= high:
        raise ConfigError(f"{name} {value} is out of range", f"use {low} to {high}")


def check_threads(threads: int) -> None:
    """Raise ConfigError unless ``threads`` is a number of CPU threads, or 0 for the runtime's own choice."""
    check_range("--threads", threads, 0, 1024)


@dataclass(frozen=True)
class AttentionConfig:
    """Attention at one site (after the backbone, or after the neck), applied as relu(attention(x) + x).

    kind: ``none``; ``cbam`` (Woo et al. 2018: a channel gate and a spatial gate at each level);
    ``shared-cbam`` (one spatial gate for the three levels). reduction: divisor of the channel gate's hidden layer.
    """

    kind: AttentionKind = "none"
    reduction: int = 16

    def __post_init__(self) -> None:
        check_choice("attention kind", self.kind, AttentionKind)
        check_range("attention reduction", self.reduction, 1, 64)


@dataclass(frozen=True)
class ModelConfig:
    """A FeatherFace network.

    width: channels of the neck, context and heads (a multiple of 4, 8 to 512). cells: BiFPN cells (1 to 8).
    context: SSH module with ``deformable`` (DCNv2), ``plain`` or ``grouped`` 3x3 convolutions. shuffle:
    ``groups-2`` views the channels as (2, C/2) and transposes, ``groups-half`` as (C/2, 2);
    ``bottleneck`` follows groups-half with 1x1, depthwise 3x3, 1x1; ``light`` views them as (4, C/4)
    and follows with two grouped 1x1. Raises ConfigError on a combination that cannot be built.
    """

    name: str = "custom"
    width: int = 52
    cells: int = 3
    neck: NeckKind = "bifpn"
    backbone_attention: AttentionConfig = AttentionConfig("cbam", 16)
    neck_attention: AttentionConfig = AttentionConfig("none", 16)
    context: ContextKind = "deformable"
    shuffle: ShuffleKind = "groups-2"

    def __post_init__(self) -> None:
        check_range("width", self.width, 8, 512)
        check_range("cells", self.cells, 1, 8)
        check_choice("neck", self.neck, NeckKind)
        check_choice("context", self.context, ContextKind)
        check_choice("shuffle", self.shuffle, ShuffleKind)
        needs = {"deformable": 4, "plain": 4, "grouped": 16}[self.context]
        if self.shuffle == "light":
            needs = max(needs, 8)
        if self.width % needs:
            raise ConfigError(
                f"width {self.width} does not divide into {needs} for context {self.context!r}, shuffle {self.shuffle!r}",
                f"use {self.width // needs * needs or needs} or {(self.width // needs + 1) * needs}",
            )
        if self.neck_attention.kind == "cbam" and self.width < self.neck_attention.reduction:
            raise ConfigError(
                f"neck_attention.reduction {self.neck_attention.reduction} leaves no hidden channel at width {self.width}",
                f"use a reduction of at most {self.width}",
            )


@dataclass(frozen=True)
class PostprocessConfig:
    """From network outputs to faces: scores strictly above ``score``, greedy NMS at IoU ``nms``, ``top_k`` best kept.

    score, nms: 0 to 1. top_k: faces per picture at most, 0 for no limit.
    """

    score: float = 0.5
    nms: float = 0.4
    top_k: int = 750

    def __post_init__(self) -> None:
        check_range("--score", self.score, 0.0, 1.0)
        check_range("--nms", self.nms, 0.0, 1.0)
        check_range("--top-k", self.top_k, 0, 1_000_000)


@dataclass(frozen=True)
class DetectConfig:
    """What ``featherface detect`` does with each picture; the detector that it is given has its device and threads.

    size: long side in pixels that pictures are scaled to, None for their own size. batch: pictures of equal shape that
    go through the network together.
    """

    size: int | None = None
    batch: int = 1
    post: PostprocessConfig = PostprocessConfig()

    def __post_init__(self) -> None:
        if self.size is not None:
            check_size("--size", self.size)
        check_range("--batch", self.batch, 1, 1024)


ExportForm = Literal["onnx", "openvino"]
DEFAULT_TEST_SIZES = ("320", "416", "640", "832", "32", "97x33", "333x517")


@dataclass(frozen=True)
class ExportConfig:
    """What ``featherface export`` makes and proves.

    dynamic: batch, height and width are free (32 or more, odd too); otherwise fixed to ``size`` (height, width) and batch 1.
    test_sizes, test_batches: what is compared with PyTorch. opset: ONNX operator set, 19 (first with DeformConv) to 23.
    optimise: rewrite the network into fewer and faster steps of the same result; off exports it as it is written.
    tolerance: largest difference of a raw output from PyTorch's, relative to max(1, |value|). form: ``onnx``, or ``openvino``
    for OpenVINO's intermediate representation (.xml with a .bin beside it). decompose: no DeformConv, for runtimes without it.
    post: the graph finds the faces itself, with these thresholds unless a user gives others; None: it ends with the network's raw
    outputs.
    """

    dynamic: bool = True
    size: tuple[int, int] = (640, 640)
    test_sizes: tuple[tuple[int, int], ...] = ((320, 320), (640, 640), (333, 517))
    test_batches: tuple[int, ...] = (1, 2)
    opset: int = 19
    simplify: bool = False
    optimise: bool = True
    tolerance: float = 1e-4
    form: ExportForm = "onnx"
    decompose: bool = False
    post: PostprocessConfig | None = None

    def __post_init__(self) -> None:
        for size in (self.size, *self.test_sizes):
            for side in size:
                check_size("size", side)
        check_range("--opset", self.opset, 19, 23)
        check_choice("--format", self.form, ExportForm)


# the endings of each form of export: a network's graph, or its weights alone
EXPORT_SUFFIXES = {
    "onnx": (".onnx",),
    "openvino": (".xml",),
    "safetensors": (".safetensors",),
    "pth": (".pth", ".pt", ".tar"),
}
OF_A_GRAPH = ("package", "simplify", "plain", "decompose", "with_postprocess", "dynamic", "test_sizes")


def check_export(given: Mapping[str, Any]) -> None:
    """Raise ParameterError for parameters of an export that do not go together.

    given: name and value of what the caller chose, defaults left out: fields of ExportConfig, of which ``form`` is any of
    EXPORT_SUFFIXES, sizes are texts, and ``plain`` stands for optimise=False; ``with_postprocess`` and the fields of
    PostprocessConfig; ``package``, ``out`` and ``weights``.
    """
    form, dynamic = given.get("form", ExportConfig.form), given.get("dynamic", ExportConfig.dynamic)
    if "size" in given and dynamic:
        size = given["size"]
        raise ParameterError(
            f"`size` {size} goes with `dynamic=False`; a dynamic file takes every size", "add `dynamic=False`"
        )
    if "size" in given and len(parse_sizes(given["size"])) != 1:
        raise ParameterError(f"`size` {given['size']} is more than one", "a static file has one: 640 or 480x640")
    if "test_sizes" in given and not dynamic:
        raise ParameterError(
            "`test_sizes` does not go with `dynamic=False`, which has one size", "name that one with `size`"
        )
    if form not in EXPORT_SUFFIXES:
        raise ParameterError(f"`form` {form!r} is not known", f"use {', '.join(EXPORT_SUFFIXES)}")
    graph = form in get_args(ExportForm)
    if not graph and any(name in given for name in OF_A_GRAPH if not (name == "dynamic" and dynamic)):
        raise ParameterError(
            f"`form` {form} converts weights alone",
            "leave out `package`, `simplify`, `plain`, `decompose`, `with_postprocess`, `dynamic=False` and "
            "`test_sizes`",
        )
    limits = [field.name for field in fields(PostprocessConfig) if field.name in given]
    if limits and not ("with_postprocess" in given and form == "onnx"):
        raise ParameterError(
            f"`{limits[0]}` {given[limits[0]]} is for ONNX files `with_postprocess`, which fall back to it",
            "leave it out, and give it to detect; or add `with_postprocess`, with `form` onnx",
        )
    if form == "openvino" and "package" in given:
        raise ParameterError("`package` goes with `form` onnx", "leave out `package`, or `form` openvino")
    out, weights = given.get("out"), given.get("weights")
    if out is not None and out.suffix.lower() not in EXPORT_SUFFIXES[form]:
        raise ParameterError(
            f"`out` {out} does not end as {form} files do", f"use {EXPORT_SUFFIXES[form][0]}, or another `form`"
        )
    if out is not None and weights and out.resolve() == Path(weights).resolve():
        raise ParameterError(f"`out` {out} is the weights file itself", "give the new file another name")


def check_size(name: str, side: int) -> None:
    """Raise ConfigError unless ``side`` (pixels) is one the network can take."""
    if not MIN_SIZE <= side <= 32768:
        raise ConfigError(
            f"{name} {side} is out of range", f"use {MIN_SIZE} to 32768 pixels: the coarsest stride is 32"
        )


def parse_sizes(text: str) -> tuple[tuple[int, int], ...]:
    """(height, width) pairs from "320,416,480x640": a side alone is a square. Brackets and spaces may stand around it.

    >>> parse_sizes("[320, 480x640]")
    ((320, 320), (480, 640))
    """
    sizes = []
    for part in text.strip().strip("[]()").replace(" ", "").split(","):
        height, cross, width = part.lower().partition("x")
        try:
            sizes.append((int(height), int(width if cross else height)))
        except ValueError:
            raise ConfigError(
                f"size {part!r} in {text!r} is not a number or HEIGHTxWIDTH", "write 640 or 480x640"
            ) from None
        for side in sizes[-1]:
            check_size("size", side)
    return tuple(sizes)


def configs_folder() -> Path:
    """The folder of shipped YAML files: inside the wheel, or beside the packages in a checkout."""
    inside = Path(__file__).parent / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[1] / "configs"


def find_config(path: Path) -> Path:
    """``path`` itself, or the shipped file of that name below ``configs_folder()``."""
    if path.is_file():
        return path
    for shipped in (configs_folder() / path, configs_folder().parent / path):
        if shipped.is_file():
            return shipped
    shipped_names = sorted(str(p.relative_to(configs_folder())) for p in configs_folder().rglob("*.yaml"))
    raise ConfigError(f"config file {path} does not exist", "shipped: " + ", ".join(shipped_names))


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping that a YAML file holds. Raises ConfigError with the line of a syntax error."""
    import yaml

    path = find_config(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        raise ConfigError(
            f"{place} is not YAML: {getattr(problem, 'problem', None) or first_line(problem)}", "check the indentation"
        ) from None
    except (OSError, UnicodeDecodeError) as problem:
        raise ConfigError(f"cannot read {path}: {problem}", "is it a text file that you may read?") from None
    except (
        ValueError,
        RecursionError,
    ) as problem:  # a number of 5,000 digits, a 31st of February, brackets in brackets
        raise ConfigError(f"{path} holds a value that cannot be read: {first_line(problem)}", "correct it") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no keys", "write lines such as 'width: 40'")
    return content


def with_values(base: Config, values: Mapping[str, Any], place: str) -> Config:
    """A copy of the dataclass ``base`` with ``values``, nested mappings merged; unknown keys and wrong types refused.

    place: the file or option that ``values`` come from, for the message.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f"{place} holds {values!r} where keys should be", "write lines such as 'width: 40'")
    known = {field.name: field for field in fields(base)}  # type: ignore[arg-type]
    changed: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"unknown key {str(key)!r} in {place}", did_you_mean(str(key), known))
        current = getattr(base, key)
        if is_dataclass(current) and not isinstance(value, Mapping):
            example = fields(current)[0].name
            raise ConfigError(
                f"{key}: {value!r} is not a set of keys ({place})", f"write {key}: {{{example}: {value}}}"
            )
        if is_dataclass(current):
            changed[key] = with_values(current, value, f"{place}: {key}")
        else:
            changed[key] = _plain(value, current)
    try:
        try:
            made = replace(base, **changed)  # type: ignore[type-var]
        except (TypeError, ValueError, OverflowError) as problem:  # a check met a type that it did not expect
            _check_types({name: known[name] for name in changed}, changed)
            raise ConfigError(
                f"{place} cannot be used: {first_line(problem)}", "see the example files in configs/"
            ) from None
        # the dataclass's own checks name the option; pydantic's rules catch what they let through
        _check_types({name: known[name] for name in changed}, changed)
        return made
    except ConfigError as problem:
        if problem.message.endswith(f"({place})"):
            raise
        raise ConfigError(f"{problem.message} ({place})", problem.hint) from None


def _plain(value: Any, current: Any) -> Any:
    """What YAML 1.1 makes of a value, as the field that now holds ``current`` means it."""
    if isinstance(current, tuple) and isinstance(value, list):
        return tuple(_plain(part, current[0] if current else None) for part in value)
    if isinstance(current, str) and isinstance(value, bool):
        return "on" if value else "off"  # unquoted, these words are truth values
    if isinstance(current, float) and isinstance(value, str):
        return _number(value)
    return value


def _number(text: str) -> float | str:
    """YAML 1.1 reads 5e-4 as text, because it lacks a dot."""
    try:
        return float(text)
    except ValueError:
        return text


def _check_types(fields_: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Raise ConfigError for a value from outside that is not of its field's type, by pydantic's strict rules."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    for name, field in fields_.items():
        value = values[name]
        if is_dataclass(value):
            continue
        try:
            TypeAdapter(field.type, config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError as problem:
            reason = problem.errors()[0]["msg"]
            raise ConfigError(
                f"{name}: {value!r} cannot be used: {reason}", "see the example files in configs/"
            ) from None


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """``["width=40", "neck_attention.kind=cbam"]`` as a nested mapping; values are read as YAML."""
    import yaml

    nested: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise ConfigError(f"--set {pair!r} is not KEY=VALUE", "for example --set width=40")
        place = nested
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError(f"--set {pair!r} sets a part of {parent!r}, set whole before", "keep one of the two")
        try:
            place[last] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise ConfigError(f"--set {pair[:200]!r}: the value is not YAML", "for example --set width=40") from None
    return nested
