"""The embedded data set as a source of pictures."""

from collections.abc import Sequence
from operator import index as whole
from random import Random

from featherface_core.data.annotation import Faces, Picture
from featherface_core.data.synthetic.figure import draw_person
from featherface_core.data.synthetic.person import Person
from featherface_core.data.synthetic.scene import draw_background, faces_of, finish, place_people
from featherface_core.data.synthetic.things import draw_distractor
from featherface_core.errors import ConfigError

SMALLEST, LARGEST = 64, 2048  # sides of a picture that can be asked for, pixels


class SyntheticFaces:
    """Drawn pictures of 0 to 6 faces among clutter and things that only resemble faces; a ``PictureSource``.

    count: how many pictures. seed: another seed, other pictures. size: side of the square pictures, 64 to 2,048 pixels.
    Faces measure 10 to 154 pixels (longer side of the box) at size 256 and in proportion at others, never below 10. Boxes
    reach from hairline to chin and cheek to cheek and are clipped to the picture; landmarks of a face that the border cuts
    may lie outside. Raises ConfigError.
    """

    def __init__(self, count: int, seed: int = 0, size: int = 256) -> None:
        if count < 1:
            raise ConfigError(f"synthetic data: {count} pictures", "ask for at least 1")
        if not SMALLEST <= size <= LARGEST:
            raise ConfigError(
                f"synthetic data: pictures of {size} pixels", f"choose a size from {SMALLEST} to {LARGEST}"
            )
        self.count = count
        self.seed = seed
        self.size = size
        self.name = f"synthetic (seed {seed})"

    @property
    def sets(self) -> tuple[tuple[str, int], ...]:
        """This one set."""
        return ((self.name, self.count),)

    def __len__(self) -> int:
        return self.count

    def faces(self, index: int) -> Faces:
        """The faces of a picture, without drawing it. Raises IndexError for an index below 0 or beyond the last."""
        return faces_of(self._people(index), self.size)

    def shape(self, index: int) -> tuple[int, int]:
        """(height, width) of a picture: all are square. Raises IndexError for an index below 0 or beyond the last."""
        self._check(index)
        return self.size, self.size

    def read(self, index: int) -> tuple[Picture, Faces]:
        """Picture (size, size, 3), BGR uint8, and its faces: the same for the same seed, index and size, always.

        Raises IndexError for an index below 0 or beyond the last.
        """
        people = self._people(index)  # once, for both
        return self._picture(index, people), faces_of(people, self.size)

    def _dice(self, index: int, part: str) -> Random:
        """A stream of its own for each part of a picture. Python's: its numbers are the same in every version."""
        return Random(f"{self.seed}/{whole(index)}/{part}")

    def _check(self, index: int) -> None:
        if not 0 <= index < self.count:
            raise IndexError(f"picture {index} of {self.count}")

    def _people(self, index: int) -> list[Person]:
        self._check(index)
        return place_people(self._dice(index, "people"), self.size)

    def _picture(self, index: int, people: Sequence[Person]) -> Picture:
        """The picture of these people; of none, the same picture without them."""
        scenery = self._dice(index, "scenery")
        picture = draw_background(scenery, self.size)
        for _ in range(scenery.choice((0, 1, 1, 2, 2, 3, 4))):
            draw_distractor(picture, scenery, self.size)
        for person in people[::-1]:  # the smallest is the farthest
            draw_person(picture, person)
        return finish(picture, self._dice(index, "camera"), self.size)
