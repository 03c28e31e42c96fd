"""Changes of colours as ``augment.paint.coloured`` makes them, of many tiles at once, in torch."""

import torch
from torch import Tensor


def coloured(packed: Tensor, changes: Tensor, turned: bool) -> Tensor:
    """Pixels (n, H, W), int32 of bytes blue, green, red, 0, changed by ``changes`` (n, 4): brightness, contrast, saturation, hue.

    turned: whether saturation and hue are looked at. Levels by brightness and contrast as their table has them; saturation and
    hue in HSV of 8 bits as OpenCV converts to and from it, 180 steps of hue, but for its rounding.
    """
    plus, times, more, turn = (change.view(-1, 1, 1) for change in changes.unbind(1))
    levels = [(packed >> shift).bitwise_and_(255).float().add_(plus).mul_(times) for shift in (0, 8, 16)]
    levels = [level.clamp_(0, 255).floor_() for level in levels]
    if turned:
        levels = _turned(levels, more, turn)
    blue, green, red = (level.int() for level in levels)
    return blue.bitwise_or_(green.bitwise_left_shift_(8)).bitwise_or_(red.bitwise_left_shift_(16))


def _turned(levels: list[Tensor], more: Tensor, turn: Tensor) -> list[Tensor]:
    """Blue, green and red with their saturation multiplied and their hue turned."""
    blue, green, red = levels
    value = torch.maximum(torch.maximum(blue, green), red)
    spread = value - torch.minimum(torch.minimum(blue, green), red)
    # hue in steps of 2 degrees, by the largest channel
    sixth = torch.where(
        value == red,
        green - blue,
        torch.where(value == green, (blue - red).add_(spread, alpha=2), (red - green).add_(spread, alpha=4)),
    )
    steps = sixth.mul_(30).div_(spread.clamp(min=1)).add_(0.5).floor_()
    steps = steps.add_(steps < 0, alpha=180).add_(turn).floor_()
    steps = steps.add_(steps < 0, alpha=180).add_(steps >= 180, alpha=-180)
    strength = spread.mul_(255).div_(value.clamp(min=1)).add_(0.5).floor_().mul_(more).clamp_(0, 255).floor_()
    sector = steps.div_(30)
    strong = strength.mul_(value).div_(255)
    least = value.sub_(strong).add_(0.5)  # 0.5: to the nearest level
    # how much of the strongest channel each has, by sixths of the circle
    shares = ((sector - 4).abs_().neg_().add_(2), (sector - 2).abs_().neg_().add_(2), (sector - 3).abs_().sub_(1))
    return [share.clamp_(0, 1).mul_(strong).add_(least).floor_() for share in shares]
