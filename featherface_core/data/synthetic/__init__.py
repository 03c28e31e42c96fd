"""The embedded data set: drawn faces with exact boxes and landmarks, made on the fly, so that nothing has to be downloaded.

A face is drawn in units of half its height, in its own frame: x to the right, y down, the hairline at -1, the chin at 1.
"""

from featherface_core.data.synthetic.scene import FACES_PER_PICTURE, LARGEST_FACE, MOST_COVERED, SMALLEST_FACE
from featherface_core.data.synthetic.source import LARGEST, SMALLEST, SyntheticFaces

__all__ = [
    "FACES_PER_PICTURE",
    "LARGEST",
    "LARGEST_FACE",
    "MOST_COVERED",
    "SMALLEST",
    "SMALLEST_FACE",
    "SyntheticFaces",
]
