"""The proof that an ONNX file equals its PyTorch network: shapes, raw outputs and final faces, size by size."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from featherface_core import boxes
from featherface_core.config import ExportConfig, PostprocessConfig
from featherface_core.detect import Network, TorchNetwork
from featherface_core.errors import ExportError, first_line
from featherface_core.exported import open_exported
from featherface_core.models.featherface import FeatherFace
from featherface_core.pictures import PORTRAIT, Picture, fill, read_picture
from featherface_core.results import Floats, SizeCheck

BOX_TOLERANCE = 0.1  # pixels
SLACK = 4.0  # times the rounding error of float32 PyTorch
WIDTHS = (4, 2, 10)
Outputs = tuple[Floats, Floats, Floats]


def verify(path: Path, model: FeatherFace, config: ExportConfig) -> Iterator[SizeCheck]:
    """Compare an exported file with ``model`` on a real picture at each size and batch of ``config``; yields a row for each.

    The yardstick for raw outputs is the network in float64, so that PyTorch's own rounding is not taken for the file's
    error. Raises ExportError if onnx's checker refuses the file.
    """
    if path.suffix == ".onnx":
        check_file(path)
    ours, theirs = TorchNetwork(model), open_exported(path, torch.get_num_threads()).network
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
        raise ExportError(
            f"onnx's checker refuses {path}: {first_line(problem)}",
            "please report this with the output of: featherface doctor",
        ) from None


def _check(
    ours: TorchNetwork,
    theirs: Network,
    exact: FeatherFace,
    picture: Picture,
    batch: int,
    height: int,
    width: int,
    tolerance: float,
) -> SizeCheck:
    pixels = fill(picture, batch, height, width)
    row = SizeCheck(batch, height, width, boxes.count_anchors(height, width))
    try:
        outputs = theirs.run(pixels)
    except Exception as failure:  # onnxruntime has no common base class for its errors
        return replace(row, problem=f"does not run: {first_line(failure)}")
    row = replace(row, shapes=tuple(tuple(output.shape) for output in outputs))
    wanted = tuple((batch, row.expected, values) for values in WIDTHS)
    if row.shapes != wanted:
        return replace(row, problem=f"shapes are {row.shapes}, not {wanted}")

    with torch.inference_mode():
        truth = [output.numpy() for output in exact(torch.from_numpy(pixels).double())]
    reference = ours.run(pixels)
    torch_error = _difference(reference, truth)
    faces, box_error = _compare_faces(height, width, reference, outputs)
    row = replace(
        row,
        onnx_error=_difference(outputs, truth),
        torch_error=torch_error,
        # a network that magnifies rounding (float32 PyTorch itself is far off) is no fault of the file
        allowed=max(tolerance, SLACK * torch_error),
        faces=faces,
        box_error=box_error,
    )
    if not row.onnx_error <= row.allowed:
        return replace(row, problem=f"raw outputs differ by {row.onnx_error:.1e}, allowed are {row.allowed:.1e}")
    if faces[0] != faces[1] or not box_error <= BOX_TOLERANCE:
        found = f"{faces[0]} faces in PyTorch, {faces[1]} in ONNX, boxes differ by {box_error:.2f} px"
        return replace(row, problem=found)
    return row


def _difference(outputs: Outputs, truth: list[NDArray[np.float64]]) -> float:
    """Largest difference relative to max(1, |value|); infinite where a value is not a number."""
    worst = max(float((np.abs(o - t) / np.maximum(1, np.abs(t))).max()) for o, t in zip(outputs, truth, strict=True))
    return worst if np.isfinite(worst) else np.inf


def _compare_faces(height: int, width: int, reference: Outputs, outputs: Outputs) -> tuple[tuple[int, int], float]:
    """Final detections of both sides: their numbers, and the largest difference of matched boxes in pixels."""
    anchors = boxes.make_anchors(height, width)
    counts, worst = [0, 0], 0.0
    limits = np.array((width, height, width, height), np.float32)
    for i in range(len(reference[0])):
        post = PostprocessConfig(score=_clear_threshold(reference[1][i][:, 1]), top_k=0)
        found = []
        for regressions, scores, landmarks in (reference, outputs):
            face_boxes, _, _ = boxes.postprocess(regressions[i], scores[i], landmarks[i], anchors, post.score, post.nms)
            found.append(face_boxes)
        counts = [count + len(face_boxes) for count, face_boxes in zip(counts, found, strict=True)]
        if all(len(face_boxes) for face_boxes in found):
            nearest = boxes.iou(*found).argmax(1)
            # cut to the picture, as users get them: a lively network's boxes reach thousands of pixels beyond it
            ours, theirs = (np.clip(face_boxes, 0, limits) for face_boxes in (found[0], found[1][nearest]))
            worst = max(worst, float(np.abs(ours - theirs).max()))
    return (counts[0], counts[1]), worst


def _clear_threshold(scores: Floats, most: int = 200) -> float:
    """A score threshold in the widest gap among the best anchors, so that no face hangs on the last digit of its score."""
    best = np.sort(scores)[::-1][: most + 1].astype(np.float64)
    widest = int(np.argmax(best[:-1] - best[1:]))
    return float((best[widest] + best[widest + 1]) / 2)
