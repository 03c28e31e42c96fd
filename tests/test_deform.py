import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from featherface_core.models.blocks import SameMaxPool, same_max_pool, same_max_pool_node
from featherface_core.models.deform import DeformConv2d, deform_conv2d, deform_conv2d_node

KERNELS = ((1, 1), (3, 3), (2, 3))


def bilinear(picture: np.ndarray, y: float, x: float) -> np.ndarray:
    """(C, H, W) sampled at one point; every pixel outside is zero."""
    top, left = math.floor(y), math.floor(x)
    value = np.zeros(picture.shape[0])
    for row, column in itertools.product((top, top + 1), (left, left + 1)):
        if 0 <= row < picture.shape[1] and 0 <= column < picture.shape[2]:
            value += picture[:, row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return value


def slow_deform_conv2d(
    x: Tensor,
    offset: Tensor,
    mask: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: int,
    dilation: int,
) -> Tensor:
    """The definition, one output place and one tap at a time."""
    kernel_h, kernel_w = weight.shape[2:]
    pictures, offsets, masks, weights = (t.numpy() for t in (x, offset, mask, weight))
    out = np.zeros((len(pictures), len(weights), *offsets.shape[2:]))
    for n, row, column in itertools.product(range(len(out)), range(out.shape[2]), range(out.shape[3])):
        for i, j in itertools.product(range(kernel_h), range(kernel_w)):
            tap = i * kernel_w + j
            y = row * stride - padding + i * dilation + offsets[n, 2 * tap, row, column]
            x_ = column * stride - padding + j * dilation + offsets[n, 2 * tap + 1, row, column]
            sample = bilinear(pictures[n], y, x_) * masks[n, tap, row, column]
            out[n, :, row, column] += weights[:, :, i, j] @ sample
    if bias is not None:
        out += bias.numpy()[:, None, None]
    return torch.from_numpy(out)


def make_case(
    seed: int,
    channels: int,
    out_channels: int,
    kernel: tuple[int, int],
    size: tuple[int, int],
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    batch: int = 2,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor] | None:
    """x, offset (zero), mask (one), weight and bias in float64; None where the kernel does not fit into the picture."""
    out = [(side + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for side, k in zip(size, kernel, strict=True)]
    if min(out) < 1:
        return None
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=draw, dtype=torch.float64)

    taps = kernel[0] * kernel[1]
    return (
        normal(batch, channels, *size),
        torch.zeros(batch, 2 * taps, *out, dtype=torch.float64),
        torch.ones(batch, taps, *out, dtype=torch.float64),
        normal(out_channels, channels, *kernel),
        normal(out_channels),
    )


geometry = {
    "seed": st.integers(0, 2**31),
    "channels": st.integers(1, 4),
    "out_channels": st.integers(1, 4),  # both fewer and more than in: the two orders of sampling and multiplying
    "kernel": st.sampled_from(KERNELS),
    "size": st.tuples(st.integers(1, 7), st.integers(1, 7)),
    "stride": st.integers(1, 3),
    "padding": st.integers(0, 3),
    "dilation": st.integers(1, 3),
}


@given(**geometry, reach=st.sampled_from([0.3, 2.0, 1e3]), whole=st.booleans(), with_bias=st.booleans())
@settings(max_examples=60)
def test_equals_the_definition(
    seed: int,
    channels: int,
    out_channels: int,
    kernel: tuple[int, int],
    size: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
    reach: float,
    whole: bool,
    with_bias: bool,
) -> None:
    case = make_case(seed, channels, out_channels, kernel, size, stride, padding, dilation)
    if case is None:
        return
    x, offset, mask, weight, bias = case
    draw = torch.Generator().manual_seed(seed + 1)
    # near, a few pixels away, and far outside; whole pixels sit where bilinear sampling changes its four neighbours
    offset = torch.randn(offset.shape, generator=draw, dtype=torch.float64) * reach
    offset = offset.round() if whole else offset
    mask = torch.rand(mask.shape, generator=draw, dtype=torch.float64) * 2
    chosen = bias if with_bias else None
    ours = deform_conv2d(x, offset, mask, weight, chosen, stride, padding, dilation)
    wanted = slow_deform_conv2d(x, offset, mask, weight, chosen, stride, padding, dilation)
    torch.testing.assert_close(ours, wanted, rtol=1e-9, atol=1e-9)


@given(**geometry)
@settings(max_examples=60)
def test_without_offsets_equals_a_convolution(
    seed: int,
    channels: int,
    out_channels: int,
    kernel: tuple[int, int],
    size: tuple[int, int],
    stride: int,
    padding: int,
    dilation: int,
) -> None:
    case = make_case(seed, channels, out_channels, kernel, size, stride, padding, dilation)
    if case is None:
        return
    x, offset, mask, weight, bias = case
    ours = deform_conv2d(x, offset, mask, weight, bias, stride, padding, dilation)
    wanted = F.conv2d(x, weight, bias, stride, padding, dilation)
    torch.testing.assert_close(ours, wanted, rtol=1e-9, atol=1e-9)


def test_offsets_are_dy_then_dx_in_pixels() -> None:
    x = torch.arange(12, dtype=torch.float64).view(1, 1, 3, 4)
    weight, mask = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.full((1, 1, 3, 4), 0.5, dtype=torch.float64)
    down = torch.zeros(1, 2, 3, 4, dtype=torch.float64)
    down[:, 0] = 1
    assert (2 * deform_conv2d(x, down, mask, weight))[0, 0].tolist() == [[4, 5, 6, 7], [8, 9, 10, 11], [0, 0, 0, 0]]
    right = torch.zeros(1, 2, 3, 4, dtype=torch.float64)
    right[:, 1] = 0.5
    half = (2 * deform_conv2d(x, right, mask, weight))[0, 0]
    torch.testing.assert_close(half[0], torch.tensor([0.5, 1.5, 2.5, 1.5], dtype=torch.float64))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("channels", "out_channels"), [(3, 2), (2, 2), (2, 3)])
def test_gradients(channels: int, out_channels: int, stride: int) -> None:
    case = make_case(0, channels, out_channels, (2, 3), (4, 5), stride, 1, batch=1)
    assert case is not None
    x, offset, mask, weight, bias = case
    draw = torch.Generator().manual_seed(1)
    # bilinear sampling has a kink at every whole pixel: stay clear of them, some inside the picture and some outside
    offset = torch.randint(-2, 3, offset.shape, generator=draw) + 0.2 + 0.6 * torch.rand(offset.shape, generator=draw)
    inputs = tuple(t.double().requires_grad_() for t in (x, offset, mask * 0.7, weight, bias))
    assert torch.autograd.gradcheck(lambda *args: deform_conv2d(*args, stride=stride, padding=1), inputs)


@pytest.mark.parametrize(("channels", "out_channels"), [(4, 2), (2, 4)])
def test_a_fresh_layer_equals_a_convolution_and_a_trained_one_the_definition(channels: int, out_channels: int) -> None:
    torch.manual_seed(0)
    layer = DeformConv2d(channels, out_channels).double()
    x = torch.randn(2, channels, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, padding=1))
    for part in (layer.offset, layer.mask):
        nn.init.normal_(part.weight, std=0.3)
        nn.init.normal_(part.bias)
    with torch.no_grad():
        mask = 2 / (1 + torch.exp(-layer.mask(x)))
        wanted = slow_deform_conv2d(x, layer.offset(x), mask, layer.weight, None, 1, 1, 1)
        torch.testing.assert_close(layer(x), wanted)


def pool_by_hand(x: np.ndarray) -> np.ndarray:
    """(H, W): the largest of each 3x3 window at steps of two, over a picture framed with zeros."""
    height, width = x.shape
    framed = np.zeros((height + 2, width + 2))
    framed[1:-1, 1:-1] = x
    # an even side has its zeros after it alone, so its first window starts at the first pixel
    first = [1 - side % 2 for side in x.shape]
    out = np.zeros(((height + 1) // 2, (width + 1) // 2))
    for row, column in np.ndindex(*out.shape):
        y, x_ = first[0] + 2 * row, first[1] + 2 * column
        out[row, column] = framed[y : y + 3, x_ : x_ + 3].max()
    return out


@pytest.mark.parametrize("pool", [same_max_pool, same_max_pool_node, SameMaxPool()])
def test_same_max_pool(pool: Callable[[Tensor], Tensor]) -> None:
    draw = torch.Generator().manual_seed(0)
    for height, width in itertools.product(range(1, 8), range(1, 8)):
        x = -torch.rand(2, 3, height, width, generator=draw) - 0.1  # all below zero, so that the frame's zeros win
        x[1] += 0.6
        wanted = np.stack([[pool_by_hand(level.numpy()) for level in picture] for picture in x])
        np.testing.assert_array_equal(pool(x).numpy(), wanted.astype(np.float32))


@pytest.mark.parametrize(("channels", "out_channels"), [(3, 2), (2, 3)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_the_exported_deformable_operator(channels: int, out_channels: int, with_bias: bool) -> None:
    case = make_case(3, channels, out_channels, (3, 3), (5, 6), 1, 1)
    assert case is not None
    x, offset, mask, weight, bias = case
    offset = torch.randn(offset.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    args = (x, offset, mask, weight, bias if with_bias else None)
    torch.testing.assert_close(deform_conv2d_node(*args), slow_deform_conv2d(*args, 1, 1, 1))
    torch.library.opcheck(deform_conv2d_node, args, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("size", [(4, 4), (5, 4), (4, 5), (5, 5), (1, 2)])
def test_the_exported_pool_operator(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    torch.library.opcheck(same_max_pool_node, (x,), test_utils=("test_schema", "test_faketensor"))
