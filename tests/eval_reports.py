"""Evaluations and peers as the tests of curves, page and peers need them."""

from dataclasses import replace
from typing import Any

import numpy as np

from featherface_core.evaluation.peers import Peer
from featherface_core.evaluation.report import (
    WIDER_PICTURES,
    BrokenPicture,
    EvalReport,
    LandmarkError,
    Measured,
    RecallRow,
    Setting,
    Subject,
    Timing,
    WorstPicture,
)

NAMES = "a" * 64
AP = {"easy": 0.8588, "medium": 0.8322, "hard": 0.6830}
GROUPS = {
    "size": ("under 8 px", "8-16 px", "16-32 px", "32-64 px", "64-128 px", "128-256 px", "256 px and more"),
    "blur": ("clear", "normal", "heavy"),
    "occlusion": ("none", "partial", "heavy"),
    "pose": ("typical", "atypical"),
    "expression": ("typical", "exaggerated"),
    "illumination": ("normal", "extreme"),
    "event": ("Parade", "Handshaking", "Soldier Firing", "People Driving Car", *(f"Event {i}" for i in range(4, 61))),
}


def protocol(pictures: int = WIDER_PICTURES, **changed: Any) -> Measured:
    """Of the benchmark, unless there are fewer pictures."""
    text = (
        f"WIDER FACE evaluation, {pictures:,} of 3,226 pictures, original size, no flip, score above 0.02, NMS 0.4, "
        "no top-k, IoU 0.5"
    )
    made = Measured("wider-face", "original", False, 0.02, 0.4, 0, 0.5, None, pictures, WIDER_PICTURES, NAMES, text)
    return replace(made, **changed)


def curve(ap: float, points: int = 1000) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Recall and precision of a curve with about that AP, without a detection at first as in the official code."""
    recall = np.linspace(0, min(1, ap * 1.04), points)
    precision = 1 - 0.9 * (recall / recall[-1]) ** 14
    precision[:3] = np.nan
    return tuple(recall.tolist()), tuple(precision.tolist())


def report(measured: Measured | None = None, **changed: Any) -> EvalReport:
    """An evaluation by the official method."""
    faces = {"easy": 7_211, "medium": 13_319, "hard": 31_958}
    settings = tuple(Setting(name, ap, faces[name], *curve(ap)) for name, ap in AP.items())
    rows = []
    for group, names in GROUPS.items():
        for number, name in enumerate(names):
            total = 90 + 531 * number % 4000
            found = round(total * (0.3 + 0.65 * (number + 1) / len(names)))
            rows.append(RecallRow(group, name, total, found, round(found * 0.8)))
    made = EvalReport(
        subject=Subject("v1-original", "weights/v1_original.pth", "c0ffee" + 58 * "0", "torch", "cpu", 592_371),
        data="data/widerface/val",
        ground_truth="data/widerface/ground_truth",
        protocol=measured or protocol(),
        settings=settings,
        mean=sum(AP.values()) / 3,
        detections=1_243_122,
        recall=tuple(rows),
        landmarks=LandmarkError(0.0412, 0.0333, 4_021, 40.0),
        worst=(
            WorstPicture("0--Parade/0_Parade_marchingband_1_465.jpg", 212, 140, 3),
            WorstPicture("13--Interview/13_Interview_Interview_On_Location_13_513.jpg", 2, 0, 9),
        ),
        broken=(BrokenPicture("5--Car_Accident/5_Car_Accident_Accident_5_10.jpg", "the file ends too early"),),
        timing=Timing(6.1, 2.3, 61.4, 3.9, 1, 2),
        versions={"featherface": "0.4.0", "python": "3.11.7", "torch": "2.9.1", "opencv-python": "4.12.0.88"},
        machine={"system": "Linux x86_64", "cpu": "a processor with 2 cores", "memory": "8 GiB"},
        command_line="featherface eval --weights weights/v1_original.pth --data data/widerface/val --html",
        seconds=251.3,
    )
    return replace(made, **changed)


def plain_report(**changed: Any) -> EvalReport:
    """An evaluation by the plain method, on somebody's own pictures."""
    measured = protocol(120, method="plain", of=120, text="Plain AP, all 120 pictures, long side 640 px, IoU 0.5")
    settings = (Setting("ap50", 0.7412, 511, *curve(0.7412)), Setting("ap", 0.4123, 511))
    return report(measured, settings=settings, mean=None, **changed)


def beside(count: int, **changed: Any) -> tuple[Peer, ...]:
    """Peers with an AP alone."""
    figures = [{name: ap - 0.01 * i for name, ap in AP.items()} for i in range(1, count + 1)]
    return tuple(
        replace(Peer(f"Detector {i}", its, "original", False, f"source {i}", 1000 * i), **changed)
        for i, its in enumerate(figures, 1)
    )


def with_curve(drop: float = 0.05) -> Peer:
    """A peer whose evaluation is known."""
    settings_ = tuple(Setting(name, ap - drop, 10, *curve(ap - drop)) for name, ap in AP.items())
    its = report(settings=settings_)
    figures = {s.name: s.ap for s in settings_ if s.ap is not None}
    return Peer("A run of ours", figures, "original", False, "here", 5, NAMES, its)
