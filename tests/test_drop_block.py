"""DropBlock: squares of features are dropped in training, the mean stays, and evaluation drops nothing."""

import pytest
import torch

from featherface_core.models.blocks import DropBlock


@pytest.fixture
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.usefixtures("_seeded")
@pytest.mark.parametrize("share", [0.05, 0.1, 0.3])
def test_drop_block_drops_about_its_share_in_squares_and_keeps_the_mean(share: float) -> None:
    x = torch.ones(30, 3, 40, 40)
    y = DropBlock(share).train()(x)
    assert y.shape == x.shape
    assert y.mean() == pytest.approx(1, abs=1e-4)
    gone = y == 0
    assert float(gone.float().mean()) == pytest.approx(share, rel=0.2)
    assert torch.equal(gone[:, :1].expand_as(gone), gone)  # in all channels alike
    # what is left is one value, and what is gone is made of squares of 3 cells, cut by the border alone
    assert len(y[~gone].unique()) == 1
    inner = gone[:, 0]
    opened = torch.zeros_like(inner)
    squares = -torch.nn.functional.max_pool2d(
        -torch.nn.functional.pad(inner.float()[:, None], (2, 2, 2, 2), value=1.0), 3, 1
    )
    opened = torch.nn.functional.max_pool2d(squares, 3, 1)[:, 0] > 0
    assert torch.equal(opened, inner)


@pytest.mark.usefixtures("_seeded")
def test_drop_block_scales_by_what_is_left_and_lets_gradients_through_there_alone() -> None:
    x = torch.randn(2, 4, 16, 16).requires_grad_()
    y = DropBlock(0.2).train()(x)
    kept = (y != 0).any(1, keepdim=True)
    factor = kept.numel() / kept.sum()
    torch.testing.assert_close(y, x * kept * factor)
    y.sum().backward()
    torch.testing.assert_close(x.grad, (kept * factor).expand_as(x).contiguous())


def test_drop_block_is_nothing_in_evaluation_and_at_a_share_of_0() -> None:
    x = torch.randn(2, 4, 8, 8)
    assert torch.equal(DropBlock(0.5).eval()(x), x)
    assert torch.equal(DropBlock(0.0).train()(x), x)
    assert DropBlock(0.5).state_dict() == {}
    assert not list(DropBlock(0.5).parameters())


@pytest.mark.usefixtures("_seeded")
@pytest.mark.parametrize(
    "kind",
    [
        torch.bfloat16,
        torch.float16,
    ],
    ids=str,
)
def test_drop_block_keeps_the_mean_in_half_precision(kind: torch.dtype) -> None:
    x = torch.ones(18, 1, 64, 64, dtype=kind)  # 73,728 cells; eleven pictures of 640 pixels have more
    assert float(DropBlock(0.1).train()(x).float().mean()) == pytest.approx(1, abs=0.02)
