"""From pictures to faces: one pre-processing and one post-processing, for PyTorch and onnxruntime.

Loads torch only for a TorchDetector, onnxruntime only for an OnnxDetector.
"""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featherface_core import boxes
from featherface_core.config import PostprocessConfig, check_threads
from featherface_core.detect.session import open_session, session_options
from featherface_core.errors import ConfigError, WeightsError, first_line
from featherface_core.pictures import MEAN, Picture, prepare
from featherface_core.results import Detections, Floats

if TYPE_CHECKING:
    from featherface_core.models.featherface import FeatherFace

METADATA_KEY = "featherface"
METADATA_SCHEMA = 1
OUTPUTS = ("bbox_regressions", "classifications", "landmarks")  # of exported files
FACES = ("boxes", "scores", "landmarks", "pictures")  # of exported files with post-processing: exporting.postprocess
THRESHOLDS = ("score_threshold", "nms_iou", "top_k")  # their inputs besides the pictures; a user may leave them out

# three arrays for each picture of a batch: a network's raw outputs, or the faces of a file with post-processing
OfBatch = Floats | Sequence[Floats]
Outputs = tuple[OfBatch, OfBatch, OfBatch]


class Network(Protocol):
    """Anything that turns pixels (N, 3, H, W) into (N, A, 4), (N, A, 2), (N, A, 10), float32.

    fixed: the only (batch, height, width) it takes, or None for any of 32 pixels or more.
    """

    fixed: tuple[int, int, int] | None

    def run(self, pixels: Floats) -> tuple[Floats, Floats, Floats]:
        """One forward pass."""
        ...


class Placer(Protocol):
    """Replaces the landmarks of faces. name: for messages and reports."""

    name: str

    def place(self, picture: Picture, faces: Detections) -> Detections:
        """The same boxes and scores, with other landmarks."""
        ...


class Detector:
    """Finds faces in pictures.

    network: the forward pass. constants: mean, strides, anchor sizes and variances it was trained with
    (``default_constants()``'s keys). model, weights: names for messages and reports. second_look: replaces landmarks, or None.
    """

    backend = ""
    channels_last = False  # memory layout of the pixels that suits the network: (h, w, 3), or (3, h, w)
    second_look: "Placer | None" = None

    def __init__(self, network: Network, constants: dict[str, Any], model: str, weights: str) -> None:
        self.network, self.model, self.weights = network, model, weights
        self.mean = tuple(constants["mean"])
        self.strides = tuple(constants["strides"])
        self.anchor_sizes = tuple(tuple(sizes) for sizes in constants["anchor_sizes"])
        self.variances = (float(constants["variances"][0]), float(constants["variances"][1]))

    def prepare(self, picture: Picture, size: int | None = None) -> tuple[Floats, tuple[float, float]]:
        """Network input (3, h, w) and the scales (x, y) of a BGR picture; size: its long side, None for its own.

        A file with a fixed size scales pictures down to fit. Raises ConfigError for a ``size`` that does not fit.
        """
        canvas = self.network.fixed[1:] if self.network.fixed else None
        if canvas and size is not None and size > max(canvas):
            raise ConfigError(
                f"--size {size} does not fit into this file's fixed {canvas[1]}x{canvas[0]}",
                "leave --size out, or export with --dynamic",
            )
        return prepare(picture, size, self.mean, canvas, self.channels_last)

    def run(self, pixels: Floats, scales: Sequence[tuple[float, float]], post: PostprocessConfig) -> list[Detections]:
        """Prepared pictures of one shape, (N, 3, h, w), to faces in pixels of the original pictures."""
        return self.decode(self.forward(pixels, post), (pixels.shape[2], pixels.shape[3]), scales, post)

    def forward(self, pixels: Floats, post: PostprocessConfig) -> Outputs:
        """The outputs of the network for prepared pictures, for ``decode``. post: for a network that includes its
        post-processing."""
        return self.network.run(pixels)

    def decode(
        self,
        outputs: Outputs,
        shape: tuple[int, int],
        scales: Sequence[tuple[float, float]],
        post: PostprocessConfig,
    ) -> list[Detections]:
        """What ``forward`` gave for prepared pictures of ``shape`` (height, width) to faces, as ``run`` gives them."""
        found = []
        for first, second, third, (x, y) in zip(*outputs, scales, strict=True):
            face_boxes, face_scores, points = self._faces(first, second, third, shape, post)
            back = np.array((x, y, x, y), np.float32)
            found.append(Detections(face_boxes / back, face_scores, points / back[:2]))
        return found

    def _faces(
        self, regressions: Floats, scores: Floats, landmarks: Floats, shape: tuple[int, int], post: PostprocessConfig
    ) -> tuple[Floats, Floats, Floats]:
        """One picture's outputs to its boxes, scores and points, in pixels of the network's input."""
        anchors = _anchors(*shape, self.strides, self.anchor_sizes)
        return boxes.postprocess(
            regressions, scores, landmarks, anchors, post.score, post.nms, post.top_k, self.variances
        )

    def detect(self, picture: Picture, size: int | None = None, post: PostprocessConfig | None = None) -> Detections:
        """The faces of one BGR uint8 picture (H, W, 3).

        size: long side in pixels to scale it to, None for its own size.
        """
        pixels, scale = self.prepare(picture, size)
        return self.look_again(picture, self.run(pixels[None], [scale], post or PostprocessConfig())[0])

    def look_again(self, picture: Picture, faces: Detections) -> Detections:
        """The faces that ``run`` found in a picture, their landmarks placed by ``second_look`` if there is one."""
        return faces if self.second_look is None else self.second_look.place(picture, faces)

    @property
    def landmarks_by(self) -> str:
        """The network of the second look, for messages and reports; "" without one."""
        return "" if self.second_look is None else self.second_look.name


class TorchDetector(Detector):
    """Detection with a PyTorch network.

    >>> from featherface_core import TorchDetector, load_model, read_picture
    >>> faces = TorchDetector(load_model("v1.safetensors")).detect(read_picture("me.jpg"))  # doctest: +SKIP
    """

    backend = "torch"
    network: "TorchNetwork"

    def __init__(self, model: "FeatherFace", device: str = "cpu", threads: int = 0, weights: str = "") -> None:
        super().__init__(TorchNetwork(model, device, threads), default_constants(), model.config.name, weights)


class ExportedNetwork(Network, Protocol):
    """The forward pass of an exported file. description: the metadata of the file, see ``exporting.export.describe``."""

    description: dict[str, Any]

    def find(self, pixels: Floats, post: PostprocessConfig) -> Outputs:
        """The faces of each of ``pixels`` (N, 3, H, W), by a file with post-processing: boxes, scores and landmarks."""
        ...


class ExportedDetector(Detector):
    """Detection with an exported file, with or without post-processing in it; all constants come from the file."""

    network: ExportedNetwork

    def __init__(self, network: ExportedNetwork) -> None:
        self.description = network.description
        constants, model = self.description["constants"], self.description["model"]["name"]
        super().__init__(network, constants, model, self.description["weights"])
        self.with_postprocess = holds_postprocess(self.description)

    def forward(self, pixels: Floats, post: PostprocessConfig) -> Outputs:
        """As ``Detector.forward``."""
        return self.network.find(pixels, post) if self.with_postprocess else self.network.run(pixels)

    def _faces(
        self, regressions: Floats, scores: Floats, landmarks: Floats, shape: tuple[int, int], post: PostprocessConfig
    ) -> tuple[Floats, Floats, Floats]:
        if self.with_postprocess:  # they are the faces
            return regressions, scores, landmarks
        return super()._faces(regressions, scores, landmarks, shape, post)


class OnnxDetector(ExportedDetector):
    """Detection with an ONNX file of this project in onnxruntime; all constants come from the file. Loads no torch.

    threads: CPU threads, 0 for onnxruntime's choice. device: cpu, cuda or cuda:1, by the execution provider of that kind. Raises
    WeightsError for a file that is missing, damaged, or not exported by this project, ConfigError for a device that this
    onnxruntime cannot use.

    >>> from featherface_core import OnnxDetector, read_picture
    >>> faces = OnnxDetector("featherface_v2.onnx").detect(read_picture("me.jpg"))  # doctest: +SKIP
    """

    backend = "onnxruntime"

    def __init__(self, path: str | Path, threads: int = 0, device: str = "cpu") -> None:
        super().__init__(OnnxNetwork(path, threads, device))


class TorchNetwork:
    """The forward pass of a PyTorch model. device: cpu, cuda, cuda:1, mps. threads: CPU threads, 0 for torch's choice."""

    fixed: tuple[int, int, int] | None = None

    def __init__(self, model: "FeatherFace", device: str = "cpu", threads: int = 0) -> None:
        import torch

        check_threads(threads)
        try:
            self.device = torch.device(device)
            self.model = model.eval().to(self.device)
        except (RuntimeError, AssertionError) as problem:
            raise ConfigError(
                f"--device {device!r} cannot be used: {first_line(problem)}", "use --device cpu"
            ) from None
        if threads:
            torch.set_num_threads(threads)

    def run(self, pixels: Floats) -> tuple[Floats, Floats, Floats]:
        """One forward pass."""
        import torch

        with torch.inference_mode():
            outputs = self.model(torch.from_numpy(pixels).to(self.device))
        first, second, third = (output.float().cpu().numpy() for output in outputs)
        return first, second, third


class OnnxNetwork:
    """The forward pass of an ONNX file; ``description`` is the JSON that its metadata holds."""

    def __init__(self, path: str | Path, threads: int = 0, device: str = "cpu") -> None:
        path = Path(path)
        self.session = open_session(path, session_options(threads), device)
        self.description = read_description(path, self.session.get_modelmeta().custom_metadata_map)
        shape = self.session.get_inputs()[0].shape
        self.input = self.session.get_inputs()[0].name
        self.fixed = (shape[0], shape[2], shape[3]) if all(isinstance(n, int) for n in shape) else None

    def run(self, pixels: Floats) -> tuple[Floats, Floats, Floats]:
        """One forward pass; a file with a fixed batch runs as often as it takes."""
        return in_parts(lambda part: self.session.run(OUTPUTS, {self.input: part}), pixels, self.fixed)

    def find(self, pixels: Floats, post: PostprocessConfig) -> Outputs:
        """As ``ExportedNetwork.find``."""
        limits = thresholds(post)
        return by_picture(lambda part: self.session.run(FACES, {self.input: part, **limits}), pixels, self.fixed)


def in_parts(
    run: Callable[[Floats], Sequence[Floats]], pixels: Floats, fixed: tuple[int, int, int] | None
) -> tuple[Floats, Floats, Floats]:
    """Outputs for all of ``pixels`` (N, ...) of a network that takes them together, or ``fixed[0]`` at a time."""
    count = fixed[0] if fixed else len(pixels)
    parts = [run(pixels[i : i + count]) for i in range(0, len(pixels), count)]
    first, second, third = parts[0] if len(parts) == 1 else (np.concatenate(part) for part in zip(*parts, strict=True))
    return first, second, third


def by_picture(
    run: Callable[[Floats], Sequence[NDArray[Any]]], pixels: Floats, fixed: tuple[int, int, int] | None
) -> Outputs:
    """The outputs FACES for all of ``pixels`` (N, ...), taken as ``in_parts`` does, sorted into N pictures."""
    count = fixed[0] if fixed else len(pixels)
    found: tuple[list[Floats], list[Floats], list[Floats]] = ([], [], [])
    for i in range(0, len(pixels), count):
        *faces, pictures = run(pixels[i : i + count])
        for picture in range(count):
            for mine, all_faces in zip(found, faces, strict=True):
                mine.append(all_faces[pictures == picture])
    return found


def thresholds(post: PostprocessConfig) -> dict[str, NDArray[Any]]:
    """THRESHOLDS' values, float32 or int64 without axes."""
    return dict(
        zip(
            THRESHOLDS,
            (np.array(post.score, np.float32), np.array(post.nms, np.float32), np.array(post.top_k, np.int64)),
            strict=True,
        )
    )


def holds_postprocess(description: dict[str, Any]) -> bool:
    """Whether an exported file outputs faces, by its metadata; early files contain only the network and do not say so."""
    return bool(description.get("with_postprocess", False))


def default_constants() -> dict[str, Any]:
    """The constants that every network of this project is trained with; exported files have their own copy."""
    return {
        "colour_order": "BGR",
        "mean": list(MEAN),
        "scale": 1.0,
        "layout": "NCHW",
        "dtype": "float32",
        "minimum_side": 32,
        "strides": list(boxes.STRIDES),
        "anchor_sizes": [list(sizes) for sizes in boxes.ANCHOR_SIZES],
        "variances": list(boxes.VARIANCES),
    }


@lru_cache(maxsize=16)
def _anchors(height: int, width: int, strides: tuple[int, ...], sizes: tuple[tuple[int, ...], ...]) -> Floats:
    anchors = boxes.make_anchors(height, width, strides, sizes)
    anchors.flags.writeable = False
    return anchors


def read_description(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """The description of an exported file, from its metadata. Raises WeightsError where it is not of this project, or damaged."""
    if METADATA_KEY not in metadata:
        raise WeightsError(
            f"{path} was not exported by this project: it holds no {METADATA_KEY!r} metadata",
            "export it with: featherface export --weights FILE",
        )
    try:
        description = json.loads(metadata[METADATA_KEY])
        version = description["schema"]
        complete = (
            description["model"]["name"]
            and description["weights"]
            and not (default_constants().keys() - description["constants"].keys())
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        complete, version = False, None
    if version is not None and version != METADATA_SCHEMA:
        raise WeightsError(
            f"{path} has metadata schema {version}, this version reads {METADATA_SCHEMA}",
            "export it again: featherface export",
        )
    if not complete:
        raise WeightsError(f"{path} holds damaged {METADATA_KEY!r} metadata", "export it again: featherface export")
    return dict(description)
