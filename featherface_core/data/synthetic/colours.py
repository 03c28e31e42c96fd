"""Colours, blue, green, red, and what people have of them."""

from random import Random

import numpy as np

Colour = tuple[float, float, float]  # blue, green, red, 0 to 255

# light to dark, red, green, blue: from the lightest to the darkest human skin, with a little more red than the Monk scale
_SKINS = np.array(
    [
        (250, 226, 208),
        (244, 212, 188),
        (236, 198, 168),
        (224, 180, 146),
        (205, 156, 118),
        (178, 128, 92),
        (146, 100, 70),
        (112, 76, 54),
        (82, 56, 42),
        (58, 40, 32),
    ],
    np.float64,
)
HAIRS = ((28, 24, 22), (40, 32, 30), (24, 36, 56), (38, 58, 92), (60, 96, 140), (110, 165, 205), (34, 66, 140))
GREY_HAIRS = ((150, 150, 150), (205, 205, 208))
IRISES = ((34, 52, 80), (24, 36, 56), (150, 120, 84), (96, 120, 88), (40, 74, 110))


def any_colour(r: Random) -> Colour:
    """Any colour, mostly not very saturated."""
    light = 20 + 225 * r.random()
    strength = 0.85 * r.random() ** 1.6
    return (
        light * (1 - strength * r.random()),
        light * (1 - strength * r.random()),
        light * (1 - strength * r.random()),
    )


def scaled(colour: Colour, by: float) -> Colour:
    """The colour, lighter or darker."""
    return (min(255.0, colour[0] * by), min(255.0, colour[1] * by), min(255.0, colour[2] * by))


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """Between a, share 0, and b, share 1."""
    return (a[0] + (b[0] - a[0]) * share, a[1] + (b[1] - a[1]) * share, a[2] + (b[2] - a[2]) * share)


def any_skin(r: Random) -> Colour:
    """Any human skin, with small differences of red and brightness."""
    place = r.uniform(0, len(_SKINS) - 1.001)
    at = int(place)
    red, green, blue = (_SKINS[at] + (_SKINS[at + 1] - _SKINS[at]) * (place - at)).tolist()
    light = r.uniform(0.92, 1.05)
    return (
        min(250.0, blue * light * r.uniform(0.95, 1.1)),
        min(250.0, green * light * r.uniform(0.96, 1.04)),
        min(250.0, red * light),
    )
