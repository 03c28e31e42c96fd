"""An exponential moving average of a network's weights and statistics."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Average:
    """The average of ``model``'s state dict: average += (1 - d) (model - average) after each step.

    At step n, d = min(decay, (1 + n) / (10 + n)). The rising decay (as in TensorFlow's ExponentialMovingAverage) makes the
    average forget the starting weights in short runs. A decay of 0 follows the model exactly.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.state = {name: t.detach().clone() for name, t in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the model as it is after a step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        now = model.state_dict()
        floats = [name for name, t in self.state.items() if t.is_floating_point()]
        torch._foreach_lerp_([self.state[n] for n in floats], [now[n] for n in floats], 1 - decay)
        for name, tensor in self.state.items():
            if not tensor.is_floating_point():
                tensor.copy_(now[name])

    def load(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Go on from a saved average."""
        self.steps = steps
        for name, tensor in self.state.items():
            tensor.copy_(state[name])
