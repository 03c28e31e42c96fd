"""Several data sets as one source of pictures, and what they are called in it."""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import PurePath

from featherface_core.data.annotation import Faces, Picture, PictureSource
from featherface_core.errors import ConfigError


class JoinedPictures:
    """The pictures of several sets one after the other; a PictureSource.

    parts: (name, source) of each set, at least one, in the order of the indices. name: every set's, with its number of
    pictures, for people.
    """

    def __init__(self, parts: Sequence[tuple[str, PictureSource]]) -> None:
        self.parts = tuple(source for _, source in parts)
        self.sets = tuple((name, len(source)) for name, source in parts)
        self.name = " + ".join(f"{source.name} ({len(source):,})" for source in self.parts)
        self._ends = list(accumulate(count for _, count in self.sets))

    def __len__(self) -> int:
        return self._ends[-1]

    def place(self, index: int) -> tuple[int, int]:
        """(which set, index within it) of a picture. Raises IndexError for an index below 0 or beyond the last."""
        if not 0 <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        number = bisect_right(self._ends, index)
        return number, index - self._ends[number] + self.sets[number][1]

    def faces(self, index: int) -> Faces:
        """The faces of a picture, as its set gives them."""
        number, within = self.place(index)
        return self.parts[number].faces(within)

    def shape(self, index: int) -> tuple[int, int]:
        """(height, width) of a picture, as its set gives it. Raises DataError."""
        number, within = self.place(index)
        return self.parts[number].shape(within)

    def read(self, index: int) -> tuple[Picture, Faces]:
        """Picture (H, W, 3), BGR uint8, and its faces, as its set gives them. Raises DataError."""
        number, within = self.place(index)
        return self.parts[number].read(within)


def set_names(places: Sequence[PurePath]) -> list[str]:
    """A name for each of different places: the shortest end of its path that no other has. Raises ConfigError for equal ones.

    >>> set_names([PurePath("/a/faces"), PurePath("/b/train"), PurePath("/c/train")])
    ['faces', 'b/train', 'c/train']
    """
    for number, place in enumerate(places):
        if place in places[:number]:
            raise ConfigError(f"the data set {place} is named twice", "name each once")
    names = []
    for mine in places:
        depth = 1
        while sum(other.parts[-depth:] == mine.parts[-depth:] for other in places) > 1 and depth < len(mine.parts):
            depth += 1
        names.append(str(PurePath(*mine.parts[-depth:])))
    return names
