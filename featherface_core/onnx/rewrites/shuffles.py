"""Channel shuffles as an order of weights: what reads shuffled channels may as well read them where they are."""

import torch
from torch import nn

from featherface_core.models.blocks import ChannelShuffle, ConvBN
from featherface_core.models.featherface import FeatherFace
from featherface_core.models.heads import LevelHead


def absorb_shuffles(model: FeatherFace) -> None:
    """The permutation of each level goes into the weights of the convolution, or the heads, behind it."""
    assert isinstance(model.heads, nn.ModuleList)
    for shuffle, head in zip(model.shuffle, model.heads, strict=True):
        assert isinstance(shuffle, ChannelShuffle)
        assert isinstance(head, LevelHead)
        readers: list[nn.Module] = [head.boxes, head.classes, head.landmarks]
        if len(shuffle.mix):
            block = shuffle.mix[0]
            assert isinstance(block, ConvBN)
            readers = [block.conv]
        convs = [reader for reader in readers if isinstance(reader, nn.Conv2d) and reader.groups == 1]
        if shuffle.groups == 1 or len(convs) < len(readers):
            continue
        for conv in convs:
            order = torch.arange(conv.in_channels).view(shuffle.groups, -1).T.reshape(-1)
            weight = torch.empty_like(conv.weight)
            weight[:, order] = conv.weight
            conv.weight = nn.Parameter(weight, requires_grad=False)
        shuffle.groups = 1
