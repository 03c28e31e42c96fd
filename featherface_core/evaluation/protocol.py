"""How pictures are shown to the network when it is evaluated: resize rule, scales, flips and thresholds."""

import re
from dataclasses import dataclass

from featherface_core.config import PostprocessConfig, check_size
from featherface_core.errors import ConfigError

KNOWN = "original, vga, size=N (long side in pixels) or multi-scale"
VGA = 640  # the long side of published VGA figures (SCRFD, https://arxiv.org/abs/2105.04714)
# RetinaFace's pyramid (https://arxiv.org/abs/1905.00641): short sides, where 800 is the picture within 800 x 1,200
PYRAMID, SHORT, LONG = (500, 800, 1100, 1400, 1700), 800, 1200

AS_PUBLISHED = PostprocessConfig(0.02, 0.4, 0)


@dataclass(frozen=True)
class Protocol:
    """resize: ``original``, ``size=N`` or ``multi-scale``. flip: each picture is seen mirrored too. share: of a picture's own
    long side that it is seen at, above 0 to 1, where resize is ``original``.

    post: score threshold, NMS, and how many faces are kept at most. With more than one view of a picture, the faces of all
    are merged by the same NMS.
    """

    resize: str = "original"
    flip: bool = False
    post: PostprocessConfig = AS_PUBLISHED
    share: float = 1.0

    def __post_init__(self) -> None:
        if self.resize not in ("original", "multi-scale"):
            check_size("--protocol size", int(self.resize.removeprefix("size=")))

    @property
    def size(self) -> int | None:
        """The long side in pixels, None where it differs from picture to picture."""
        return int(self.resize[5:]) if self.resize.startswith("size=") else None

    def sides(self, height: int, width: int) -> tuple[int | None, ...]:
        """Long sides in pixels at which a picture is seen, None for its own."""
        if self.resize == "multi-scale":
            short, long = min(height, width), max(height, width)
            base = min(SHORT / short, LONG / long)
            return tuple(max(1, round(long * base * scale / SHORT)) for scale in PYRAMID)
        if self.share < 1:
            return (max(1, round(self.share * max(height, width))),)
        return (self.size,)

    def view(self) -> str:
        """The resize rule, for people."""
        if self.resize == "original":
            return "original size" if self.share == 1 else f"{self.share:.3g} of the original size"
        if self.resize == "multi-scale":
            return f"5 scales (short side {', '.join(map(str, PYRAMID))} px)"
        return f"long side {self.size} px"

    def words(self) -> str:
        """The resize rule, flips and thresholds, to stand beside a figure."""
        mirrored = "with mirrored pictures" if self.flip else "no flip"
        most = f"at most {self.post.top_k:,} faces a picture" if self.post.top_k else "no top-k"
        return f"{self.view()}, {mirrored}, score above {self.post.score:g}, NMS {self.post.nms:g}, {most}"


def parse_resize(text: str) -> str:
    """A resize rule as a user writes it, in its one form.

    >>> parse_resize("vga"), parse_resize("size=1024"), parse_resize("800")
    ('size=640', 'size=1024', 'size=800')
    """
    plain = text.strip().lower()
    if plain in ("original", "multi-scale"):
        return plain
    number = re.fullmatch(r"(?:size=)?(\d{1,6})", str(VGA) if plain == "vga" else plain)
    if number is None:
        raise ConfigError(f"--protocol {text!r} is not known", f"use {KNOWN}")
    check_size("--protocol size", int(number[1]))
    return f"size={int(number[1])}"
