"""Scaling pictures down against OpenCV's means of areas and its bilinear interpolation.

    python benchmarks/resizing.py

The portrait that ships, tiled, is scaled to a long side of 640 pixels. All three run in turn; the medians, and the median of the
ratio to means of areas, are printed, and how far each is from them: mean absolute difference, in grey levels.
"""

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np

from featherface_core.pictures import PORTRAIT, Picture, read_picture, resized

SIZES = ((720, 540), (1024, 768), (1024, 1024), (1280, 720), (1920, 1080), (4000, 3000))
LONG = 640
ROUNDS = 31

Way = Callable[[Picture, int, int], Picture]


def by(interpolation: int) -> Way:
    return lambda picture, width, height: np.asarray(
        cv2.resize(picture, (width, height), interpolation=interpolation), np.uint8
    )


WAYS: dict[str, Way] = {"areas": by(cv2.INTER_AREA), "bilinear": by(cv2.INTER_LINEAR), "ours": resized}


def milliseconds(way: Way, picture: Picture, width: int, height: int) -> float:
    start = time.perf_counter()
    way(picture, width, height)
    return (time.perf_counter() - start) * 1000


def main() -> None:
    cv2.setNumThreads(1)
    portrait = read_picture(PORTRAIT)
    for wide, high in SIZES:
        tiles = (-(-high // portrait.shape[0]), -(-wide // portrait.shape[1]), 1)
        picture = np.ascontiguousarray(np.tile(portrait, tiles)[:high, :wide])
        width, height = LONG, round(LONG * high / wide)
        exact = WAYS["areas"](picture, width, height).astype(np.int16)
        rounds = [
            {name: milliseconds(way, picture, width, height) for name, way in WAYS.items()} for _ in range(ROUNDS)
        ]
        print(f"{wide}x{high} to {width}x{height}")
        for name, way in WAYS.items():
            ms = statistics.median(each[name] for each in rounds)
            ratio = statistics.median(each[name] / each["areas"] for each in rounds)
            off = np.abs(way(picture, width, height).astype(np.int16) - exact).mean()
            print(f"  {name:9} {ms:6.2f} ms, ratio {ratio:.2f}, off by {off:.2f}")


if __name__ == "__main__":
    main()
