"""Mean and maximum over channels by operators that onnxruntime has fast kernels for."""

import torch
from torch import Tensor, nn

from featherface_core.models.attention import SiteAttention, SpatialGate
from featherface_core.models.featherface import FeatherFace


def reduce_fast(model: FeatherFace) -> None:
    """The spatial gates of all attention take the mean by a matrix product, and the maximum in two steps."""
    for site in (model.backbone_attention, model.neck_attention):
        if isinstance(site, SiteAttention):
            site.spatial = nn.ModuleList(FastGate(gate) for gate in site.spatial if isinstance(gate, SpatialGate))


class FastGate(nn.Module):
    """What ``models.attention.SpatialGate`` gives: (N, C, H, W), C even, to (N, 1, H, W), 0 to 1."""

    def __init__(self, gate: SpatialGate) -> None:
        super().__init__()
        self.mean_first, self.mix = gate.mean_first, gate.mix

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 1, H, W)."""
        _, channels, height, width = x.shape
        row = torch.full((1, 1, channels), 1 / channels, dtype=x.dtype, device=x.device)
        halves = x.reshape(-1, 2, channels // 2, height * width).amax(2).chunk(2, 1)
        maps = [torch.maximum(*halves), row @ x.flatten(2)]
        both = torch.cat(maps[::-1] if self.mean_first else maps, 1)
        return torch.sigmoid(self.mix(both.reshape(-1, 2, height, width)))
