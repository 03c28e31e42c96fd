"""An exponential moving average of a network's weights and statistics."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Average:
    """The average of ``model``'s state dict: average += w (model - average) after each step, w = max(1 - decay, 9 / (10 + n)).

    n counts the steps from 1, so that the decay rises as min(decay, (1 + n) / (10 + n)) does (as in TensorFlow's
    ExponentialMovingAverage), and the average forgets the starting weights in short runs. A decay of 0 follows the model
    exactly. The model's tensors must stay the same objects: it may be loaded into, not moved.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        own = model.state_dict()
        self.state = {name: t.detach().clone() for name, t in own.items()}
        floats = [name for name, t in own.items() if t.is_floating_point()]
        others = [name for name, t in own.items() if not t.is_floating_point()]
        self._floats = [self.state[name] for name in floats], [own[name] for name in floats]
        self._others = [self.state[name] for name in others], [own[name] for name in others]
        self._count = torch.zeros((), device=next(iter(own.values())).device)

    @torch.no_grad()
    def update(self, counts: Tensor | None = None) -> None:
        """Take in the model as it is after a step. counts (): 1.0, or 0.0 for a step that was skipped; nothing waits for it."""
        averages, own = self._floats
        counts = torch.ones_like(self._count) if counts is None else counts
        self._count += counts
        if self.decay:
            weight = (9 / (10 + self._count)).clamp(min=1 - self.decay) * counts
            # a skipped step may have left statistics that are not finite, and nothing times NaN is NaN
            moved = [torch.where(counts > 0, step, 0.0) for step in torch._foreach_sub(own, averages)]
            torch._foreach_mul_(moved, weight)
            torch._foreach_add_(averages, moved)
        else:
            torch._foreach_copy_(averages, own)
        if self._others[0]:
            torch._foreach_copy_(*self._others)

    @property
    def steps(self) -> int:
        """How many steps were taken in."""
        return int(self._count)

    def load(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Go on from a saved average."""
        self._count.fill_(steps)
        for name, tensor in self.state.items():
            tensor.copy_(state[name])
