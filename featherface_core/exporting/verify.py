"""Verification of an exported file against its PyTorch network at each size: shapes, raw outputs and final faces."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from featherface_core import boxes
from featherface_core.config import ExportConfig, PostprocessConfig
from featherface_core.detect.detector import ExportedNetwork, Network, TorchNetwork
from featherface_core.detect.open_exported import open_exported
from featherface_core.errors import ExportError, first_line
from featherface_core.models.featherface import FeatherFace
from featherface_core.pictures import PORTRAIT, fill, read_picture
from featherface_core.results import Floats, SizeCheck

SCORE_TOLERANCE = 1e-4
PIXEL_TOLERANCE = 1e-2
FEWEST, MOST = 50, 200  # candidates of a picture, if it has so many anchors: enough for NMS to suppress some
AROUND = 0.1  # how far from the wanted IoU a clear one is searched for

Faces = tuple[Floats, Floats, Floats]
Finder = Callable[[int, PostprocessConfig], Faces]  # the faces of the batch's picture of this number
BOX_TOLERANCE = 0.1  # pixels
SLACK = 4.0  # times the rounding error of float32 PyTorch
WIDTHS = (4, 2, 10)


def separately(outputs: Faces, height: int, width: int) -> Finder:
    """A finder from the raw outputs of a batch, by the project's own post-processing."""
    anchors = boxes.make_anchors(height, width)

    def find(picture: int, post: PostprocessConfig) -> Faces:
        regressions, scores, landmarks = (output[picture] for output in outputs)
        return boxes.postprocess(regressions, scores, landmarks, anchors, post.score, post.nms, post.top_k)

    return find


def in_graph(file: ExportedNetwork, pixels: Floats) -> Finder:
    """A finder that runs a file with post-processing on a batch."""

    def find(picture: int, post: PostprocessConfig) -> Faces:
        face_boxes, scores, points = (of_all[picture] for of_all in file.find(pixels, post))
        return face_boxes, scores, points

    return find


def compare_postprocess(
    row: SizeCheck, theirs: Finder, ours: Finder, scores: Floats, post: PostprocessConfig
) -> SizeCheck:
    """``row`` with how a file's own post-processing did against the separate path, its ``problem`` if they differ.

    scores (batch, anchors): of faces. Thresholds are low, so that there are many candidates, and in the widest gaps, so that
    rounding does not decide about a face.
    """
    size = max(row.height, row.width)
    faces, worst = 0, 0.0
    for picture, its_scores in enumerate(scores):
        clear = replace(post, score=clear_threshold(its_scores, FEWEST, MOST))
        clear = replace(clear, nms=_clear_iou(ours(picture, replace(clear, nms=1.0, top_k=0))[0], post.nms))
        found, wanted = theirs(picture, clear), ours(picture, clear)
        if len(found[0]) != len(wanted[0]):
            lengths = f"{len(wanted[0])} faces separately, {len(found[0])} in the graph"
            return replace(row, problem=f"post-processing differs: {lengths}")
        if not _largest(found[1], wanted[1]) <= SCORE_TOLERANCE:
            return replace(row, problem="post-processing differs: scores are not the separate path's")
        for values, expected in ((found[0], wanted[0]), (found[2], wanted[2])):
            # far outside the picture float32 itself is no finer than the tolerance
            worst = max(worst, _largest(*(np.clip(v, -2 * size, 3 * size) for v in (values, expected))))
        faces += len(found[0])
    row = replace(row, post_faces=faces, post_error=worst)
    if not worst <= PIXEL_TOLERANCE:
        return replace(row, problem=f"post-processing differs: boxes or landmarks by {worst:.3f} px")
    return row


def clear_threshold(scores: Floats, fewest: int = 1, most: int = 200) -> float:
    """A score threshold in the widest gap among the best anchors, so that rounding does not decide about a face.

    fewest, most: how many anchors are to be above it; half of them all where there are fewer.
    """
    best = np.sort(scores)[::-1][: most + 1].astype(np.float64)
    first = min(fewest, len(best) // 2) - 1
    widest = first + int(np.argmax(best[first:-1] - best[first + 1 :]))
    return float((best[widest] + best[widest + 1]) / 2)


def _clear_iou(face_boxes: Floats, near: float) -> float:
    """An IoU in the widest gap between those of any two boxes, within AROUND of ``near``, as ``boxes.nms`` counts pixels."""
    closed = face_boxes + np.array((0, 0, 1, 1), np.float32)
    shares = np.sort(boxes.iou(closed, closed), axis=None).astype(np.float64)
    low, high = max(0.0, near - AROUND), min(1.0, near + AROUND)
    steps = np.concatenate(([low], shares[(shares > low) & (shares < high)], [high]))
    widest = int(np.argmax(np.diff(steps)))
    return float(steps[widest] + steps[widest + 1]) / 2


def _largest(values: Floats, expected: Floats) -> float:
    return float(np.abs(values - expected).max(initial=0))


def verify(path: Path, model: FeatherFace, config: ExportConfig, network: Path) -> Iterator[SizeCheck]:
    """Compare an exported file with ``model`` on a real picture at each size and batch of ``config``; yields a row for each.

    network: the file itself, or for one with post-processing the same without it. Its raw outputs are compared with the network
    in float64, so that PyTorch's own rounding does not count as the file's error, and the faces of ``path`` against PyTorch's
    and the separate path's. Raises ExportError if onnx's checker refuses the file.
    """
    if path.suffix == ".onnx":
        check_file(path)
    threads = torch.get_num_threads()
    ours, theirs = TorchNetwork(model), open_exported(network, threads).network
    file = open_exported(path, threads).network if config.post is not None else None
    exact = copy.deepcopy(model).double().eval()
    picture = read_picture(PORTRAIT)
    for height, width in config.test_sizes if config.dynamic else (config.size,):
        for batch in config.test_batches if config.dynamic else (1,):
            row = SizeCheck(batch, height, width, boxes.count_anchors(height, width))
            yield _check(row, fill(picture, batch, height, width), ours, theirs, exact, file, config)


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
    row: SizeCheck,
    pixels: Floats,
    ours: TorchNetwork,
    theirs: Network,
    exact: FeatherFace,
    file: ExportedNetwork | None,
    config: ExportConfig,
) -> SizeCheck:
    try:
        outputs = theirs.run(pixels)
        if file is not None:
            file.find(pixels, config.post or PostprocessConfig())
    except Exception as failure:  # onnxruntime has no common base class for its errors
        return replace(row, problem=f"does not run: {first_line(failure)}")
    row = replace(row, shapes=tuple(tuple(output.shape) for output in outputs))
    wanted = tuple((row.batch, row.expected, values) for values in WIDTHS)
    if row.shapes != wanted:
        return replace(row, problem=f"shapes are {row.shapes}, not {wanted}")

    with torch.inference_mode():
        truth = [output.numpy() for output in exact(torch.from_numpy(pixels).double())]
    reference = ours.run(pixels)
    torch_error = _difference(reference, truth)
    separate = separately(outputs, row.height, row.width)
    final = separate if file is None else in_graph(file, pixels)
    faces, box_error = _compare_faces(row, reference, final)
    row = replace(
        row,
        onnx_error=_difference(outputs, truth),
        torch_error=torch_error,
        # a network that magnifies rounding (float32 PyTorch itself is far off) is not the file's error
        allowed=max(config.tolerance, SLACK * torch_error),
        faces=faces,
        box_error=box_error,
    )
    if not row.onnx_error <= row.allowed:
        return replace(row, problem=f"raw outputs differ by {row.onnx_error:.1e}, allowed are {row.allowed:.1e}")
    if faces[0] != faces[1] or not box_error <= BOX_TOLERANCE:
        found = f"{faces[0]} faces in PyTorch, {faces[1]} in ONNX, boxes differ by {box_error:.2f} px"
        return replace(row, problem=found)
    if config.post is None:
        return row
    return compare_postprocess(row, final, separate, outputs[1][:, :, 1], config.post)


def _difference(outputs: Faces, truth: list[NDArray[np.float64]]) -> float:
    """Largest difference relative to max(1, |value|); infinite where a value is not a number."""
    worst = max(float((np.abs(o - t) / np.maximum(1, np.abs(t))).max()) for o, t in zip(outputs, truth, strict=True))
    return worst if np.isfinite(worst) else np.inf


def _compare_faces(row: SizeCheck, reference: Faces, theirs: Finder) -> tuple[tuple[int, int], float]:
    """Final detections of both sides: their numbers, and the largest difference of matched boxes in pixels."""
    ours = separately(reference, row.height, row.width)
    counts, worst = [0, 0], 0.0
    limits = np.array((row.width, row.height, row.width, row.height), np.float32)
    for i in range(row.batch):
        post = PostprocessConfig(score=clear_threshold(reference[1][i][:, 1]), top_k=0)
        found = [find(i, post)[0] for find in (ours, theirs)]
        counts = [count + len(face_boxes) for count, face_boxes in zip(counts, found, strict=True)]
        if all(len(face_boxes) for face_boxes in found):
            nearest = boxes.iou(*found).argmax(1)
            # clipped to the picture, as users get them: boxes of a random network reach thousands of pixels beyond it
            kept, matched = (np.clip(face_boxes, 0, limits) for face_boxes in (found[0], found[1][nearest]))
            worst = max(worst, float(np.abs(kept - matched).max()))
    return (counts[0], counts[1]), worst
