"""The network, put together from its parts."""

from torch import Tensor, nn

from featherface_core.config import ModelConfig
from featherface_core.models.attention import SiteAttention
from featherface_core.models.backbone import TAP_CHANNELS, MobileNetV1Quarter
from featherface_core.models.blocks import LEAKY_SLOPE, ChannelShuffle, DropBlock
from featherface_core.models.context import build_context
from featherface_core.models.deform import DeformConv2d
from featherface_core.models.heads import Heads, LevelHead
from featherface_core.models.neck import BiFPN

LEVELS = len(TAP_CHANNELS)
HEAD_STD = 0.002  # so that untrained scores spread between 0 and 1


class FeatherFace(nn.Module):
    """Backbone, attention, neck, attention, context, shuffle, heads (Kim et al. 2025, FeatherFace).

    Takes BGR pixels minus (104, 117, 123), float32, (N, 3, H, W), H and W at least 32. Returns box regressions (N, A, 4),
    class scores (N, A, 2; softmax in evaluation mode, logits in training mode) and landmark regressions (N, A, 10), where
    A = 2 x the sum over strides s of 8, 16, 32 of ceil(H/s) x ceil(W/s).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.backbone = MobileNetV1Quarter()
        self.backbone_attention: nn.Module = (
            nn.Identity()
            if config.backbone_attention.kind == "none"
            else SiteAttention(TAP_CHANNELS, config.backbone_attention)
        )
        self.neck = BiFPN(TAP_CHANNELS, width, config.cells, light=config.neck == "bifpn-light")
        self.neck_attention: nn.Module = (
            nn.Identity()
            if config.neck_attention.kind == "none"
            else SiteAttention((width,) * LEVELS, config.neck_attention)
        )
        self.context = nn.ModuleList(build_context(width, config.context) for _ in range(LEVELS))
        self.shuffle = nn.ModuleList(ChannelShuffle(width, config.shuffle) for _ in range(LEVELS))
        self.heads: nn.Module = Heads(width, LEVELS)
        self.drop_block: DropBlock | None = None  # set by training; it has no tensors and acts only in training mode
        self._initialise()

    def _initialise(self) -> None:
        """He initialisation (He et al. 2015), so that activations keep their scale in an untrained network; small weights in
        the heads."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | DeformConv2d):
                nn.init.kaiming_normal_(module.weight, a=LEAKY_SLOPE)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, DeformConv2d):
                module.reset_offsets()
            elif isinstance(module, LevelHead):
                for head in (module.boxes, module.classes, module.landmarks):
                    nn.init.normal_(head.weight, std=HEAD_STD)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(N, 3, H, W) to (N, A, 4), (N, A, 2), (N, A, 10)."""
        return self.predict(self.pyramid(x))

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """(N, 3, H, W) to the neck's three outputs (N, width, H_i, W_i), finest first."""
        levels: list[Tensor] = self.neck(self.backbone_attention(self.backbone(x)))
        return levels

    def predict(self, levels: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The neck's outputs to (N, A, 4), (N, A, 2), (N, A, 10)."""
        if self.drop_block is not None and self.training:
            levels = [self.drop_block(f) for f in levels]
        levels = self.neck_attention(levels)
        levels = [shuffle(context(f)) for f, context, shuffle in zip(levels, self.context, self.shuffle, strict=True)]
        outputs: tuple[Tensor, Tensor, Tensor] = self.heads(levels)
        return outputs
