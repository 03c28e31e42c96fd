"""Text in figures: the one font, and how much room text takes. Imports matplotlib only where it is used."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def settings() -> Iterator[None]:
    """Matplotlib's own defaults and ours, whatever the user's matplotlibrc says."""
    from matplotlib import style

    ours: dict[str, Any] = {
        "font.family": ["DejaVu Sans"],  # comes with matplotlib
        "text.parse_math": False,  # a dollar in a file's name is a dollar
        "svg.fonttype": "path",  # looks the same whichever fonts there are
        "svg.hashsalt": "featherface",  # the same report gives the same bytes
    }
    with style.context(["default", ours]):
        yield


@cache
def _font(bold: bool) -> Any:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=["DejaVu Sans"], weight="bold" if bold else "normal")


def letters(text: str) -> str:
    """``text`` in one line, with a question mark for each character that the font does not have."""
    from matplotlib.font_manager import findfont, get_font

    fonts = [get_font(findfont(_font(bold))) for bold in (False, True)]
    return "".join(c if all(f.get_char_index(ord(c)) for f in fonts) else "?" for c in " ".join(text.split()))


def width_of(text: str, size: float, bold: bool) -> float:
    """Inches that ``text`` takes at ``size`` points."""
    from matplotlib.textpath import TextToPath

    font = _font(bold).copy()
    font.set_size(size)
    width, _, _ = TextToPath().get_text_width_height_descent(letters(text), font, False)
    # the PNG's letters are fitted to pixels and may be a little wider
    return float(width) / 72 * 1.03


def wrapped(text: str, width: float, size: float, bold: bool) -> list[str]:
    """``text`` in lines of at most ``width`` inches; a word that is longer is broken."""
    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if width_of(joined, size, bold) <= width:
            lines[-1] = joined
            continue
        lines += [word] if lines[-1] else []
        lines[-1] = word
        while len(lines[-1]) > 1 and width_of(lines[-1], size, bold) > width:
            rest = lines[-1]
            most = max(1, _start(rest, width, size, bold))
            lines[-1:] = [rest[:most], rest[most:]]
    return lines


def cut(text: str, width: float, size: float, bold: bool) -> str:
    """``text``, with its middle left out where it is wider than ``width`` inches."""

    def kept(n: int) -> str:
        return f"{text[: n - n // 2]}…{text[len(text) - n // 2 :]}"

    if width_of(text, size, bold) <= width:
        return text
    return kept(_most(len(text) - 1, lambda n: width_of(kept(n), size, bold) <= width))


def _start(text: str, width: float, size: float, bold: bool) -> int:
    """How many of the first letters of ``text`` go into ``width`` inches, but not all."""
    return _most(len(text) - 1, lambda n: width_of(text[:n], size, bold) <= width)


def _most(high: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 0 to ``high`` that fits, where every smaller one does too."""
    return bisect_left(range(1, high + 1), True, key=lambda n: not fits(n))
