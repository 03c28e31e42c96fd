"""The proof that an ONNX file equals its PyTorch network: shapes, raw outputs and final faces, size by size."""

import copy
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from featherface_core import boxes
from featherface_core.config import ExportConfig, PostprocessConfig
from featherface_core.detect import Detector, OnnxNetwork, TorchNetwork, default_constants
from featherface_core.errors import ExportError
from featherface_core.models.featherface import FeatherFace
from featherface_core.pictures import Picture, prepare, read_picture
from featherface_core.results import Detections, Floats, SizeCheck

PORTRAIT = Path(__file__).parents[1] / "assets" / "astronaut.png"
BOX_TOLERANCE = 0.1  # pixels
SLACK = 4.0  # see _allowed
WIDTHS = (4, 2, 10)


def verify(path: Path, model: FeatherFace, config: ExportConfig) -> Iterator[SizeCheck]:
    """Compare an ONNX file with ``model`` on a real picture at each size and batch of ``config``; yields a row for each.

    The yardstick for raw outputs is the network in float64, so that PyTorch's own rounding is not taken for the file's
    error. Raises ExportError if onnx's checker refuses the file.
    """
    check_file(path)
    network = OnnxNetwork(path, threads=torch.get_num_threads())
    constants = default_constants()
    ours, theirs = TorchNetwork(model), Detector(network, constants)
    exact = copy.deepcopy(model).double().eval()
    picture = read_picture(PORTRAIT)
    for height, width in config.test_sizes if config.dynamic else (config.size,):
        for batch in config.test_batches if config.dynamic else (1,):
            yield _check(ours, theirs, exact, picture, batch, height, width, config.tolerance)


def check_file(path: Path) -> None:
    """Run onnx's own checker. Raises ExportError."""
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as problem:  # the checker and shape inference raise classes of their own
        reason = str(problem).strip().splitlines()[0][:200]
        raise ExportError(
            f"onnx's checker refuses {path}: {reason}",
            "please report this with the output of: featherface doctor",
        ) from None


def _check(
    ours: TorchNetwork,
    theirs: Detector,
    exact: FeatherFace,
    picture: Picture,
    batch: int,
    height: int,
    width: int,
    tolerance: float,
) -> SizeCheck:
    pixels = _fill(picture, batch, height, width)
    expected = boxes.count_anchors(height, width)
    with torch.inference_mode():
        truth = [output.numpy() for output in exact(torch.from_numpy(pixels).double())]
    reference = ours.run(pixels)
    try:
        outputs = theirs.network.run(pixels)
    except Exception as problem:  # onnxruntime has no common base class for its errors
        reason = str(problem).strip().splitlines()[0][:200]
        return SizeCheck(
            batch, height, width, (), 0, expected, np.inf, 0.0, 0.0, (0, 0), np.inf, f"does not run: {reason}"
        )
    shapes = tuple(tuple(output.shape) for output in outputs)
    wanted = tuple((batch, expected, values) for values in WIDTHS)
    if shapes != wanted:
        return SizeCheck(
            batch,
            height,
            width,
            shapes,
            shapes[0][1],
            expected,
            np.inf,
            0.0,
            0.0,
            (0, 0),
            np.inf,
            f"shapes are not {wanted}",
        )
    onnx_error, torch_error = _difference(outputs, truth), _difference(reference, truth)
    allowed = max(tolerance, SLACK * torch_error)
    faces, box_error = _compare_faces(theirs, height, width, reference, outputs)
    problem = ""
    if not onnx_error <= allowed:
        problem = f"raw outputs differ by {onnx_error:.1e}, allowed are {allowed:.1e}"
    elif faces[0] != faces[1] or not box_error <= BOX_TOLERANCE:
        problem = f"{faces[0]} faces in PyTorch, {faces[1]} in ONNX, boxes differ by {box_error:.2f} px"
    return SizeCheck(
        batch,
        height,
        width,
        shapes,
        shapes[0][1],
        expected,
        onnx_error,
        torch_error,
        allowed,
        faces,
        box_error,
        problem,
    )


def _fill(picture: Picture, batch: int, height: int, width: int) -> Floats:
    """``batch`` different views of the picture that fill height x width exactly: as it is, mirrored, upside down, ..."""
    import cv2

    resized = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    views = (resized, resized[:, ::-1], resized[::-1], resized[::-1, ::-1])
    return np.stack([prepare(np.ascontiguousarray(views[i % 4]))[0] for i in range(batch)])


def _difference(outputs: tuple[Floats, ...], truth: list[np.ndarray]) -> float:
    """Largest difference relative to max(1, |value|); infinite where a value is not a number."""
    worst = max(float((np.abs(o - t) / np.maximum(1, np.abs(t))).max()) for o, t in zip(outputs, truth, strict=True))
    return worst if np.isfinite(worst) else np.inf


def _compare_faces(
    detector: Detector, height: int, width: int, reference: tuple[Floats, ...], outputs: tuple[Floats, ...]
) -> tuple[tuple[int, int], float]:
    """Final detections of both sides: their numbers, and the largest difference of matched boxes in pixels."""
    anchors = boxes.make_anchors(height, width)
    counts, worst = [0, 0], 0.0
    for i in range(len(reference[0])):
        post = PostprocessConfig(score=_clear_threshold(reference[1][i][:, 1]), top_k=0)
        found = []
        for side, arrays in enumerate((reference, outputs)):
            face_boxes, scores, points = boxes.postprocess(
                *(a[i] for a in arrays), anchors, post.score, post.nms, variances=detector.variances
            )
            found.append(Detections(face_boxes, scores, points))
            counts[side] += len(scores)
        if len(found[0]) and len(found[1]):
            nearest = boxes.iou(found[0].boxes, found[1].boxes).argmax(1)
            worst = max(worst, float(np.abs(found[0].boxes - found[1].boxes[nearest]).max()))
    return (counts[0], counts[1]), worst


def _clear_threshold(scores: Floats, most: int = 200) -> float:
    """A score threshold in the widest gap among the best anchors, so that no face hangs on the last digit of its score."""
    best = np.sort(scores)[::-1][: most + 1].astype(np.float64)
    widest = int(np.argmax(best[:-1] - best[1:]))
    return float((best[widest] + best[widest + 1]) / 2)
