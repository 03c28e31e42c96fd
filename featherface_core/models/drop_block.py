"""DropBlock (Ghiasi et al. 2018, https://arxiv.org/abs/1810.12890): dropout of whole squares of a feature map."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DropBlock(nn.Module):
    """Zeroes squares of ``side`` cells so that about ``share`` (0 to 1) of a map is gone, and scales up what is left.

    The same cells go in all channels. In evaluation mode it is the identity. No tensors of its own.
    """

    def __init__(self, share: float, side: int = 3) -> None:
        super().__init__()
        self.share, self.side = share, side

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if not self.training or not self.share:
            return x
        # a seed takes side x side cells with it, fewer at the border: the paper's gamma, without its correction for the border
        seeds = torch.rand(x.shape[0], 1, *x.shape[2:], device=x.device) < self.share / self.side**2
        gone = F.max_pool2d(seeds.to(x.dtype), self.side, stride=1, padding=self.side // 2)
        kept = 1 - gone
        # counted in float32: a large batch has more cells than float16 can count
        return x * kept * (kept.numel() / kept.sum(dtype=torch.float32).clamp(min=1)).to(x.dtype)
