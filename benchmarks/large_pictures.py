"""Two JPEG files of 1024x1024 pixels to time the way from a file to its faces with, made of the portrait that ships.

    python benchmarks/large_pictures.py DIR
    featherface bench --onnx featherface_v2.onnx --size 1024 --picture DIR/portrait.jpg     # and DIR/crowd.jpg

portrait.jpg shows one large face, crowd.jpg 256 faces of 64 pixels.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

from featherface_core.files import make_folder
from featherface_core.pictures import PORTRAIT, read_picture, write_picture

SIDE, FACE = 1024, 64


def main() -> None:
    folder = make_folder(Path(sys.argv[1]))
    portrait = read_picture(PORTRAIT)
    large = cv2.resize(portrait, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    write_picture(folder / "portrait.jpg", np.asarray(large, np.uint8))
    face = cv2.resize(portrait[30:206, 130:306], (FACE, FACE), interpolation=cv2.INTER_AREA)
    write_picture(folder / "crowd.jpg", np.asarray(np.tile(face, (SIDE // FACE, SIDE // FACE, 1)), np.uint8))


if __name__ == "__main__":
    main()
