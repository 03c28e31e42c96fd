"""What a network is taught: by labels alone, or by a teacher too. The engine asks a task for losses by name."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from featherface_core.distill import Adapters, DistillationLoss, Teacher
from featherface_core.losses import MultiBoxLoss
from featherface_core.models.featherface import FeatherFace
from featherface_core.recipe import DistillConfig, LossConfig
from featherface_core.targets import Targets
from featherface_core.training.alpha import AlphaSchedule
from featherface_core.training.processes import Processes


class Task(Protocol):
    """One way of teaching. companions: modules trained beside the network and left behind; they may be empty."""

    companions: nn.Module

    def begin(self, epoch: int) -> float | None:
        """Called before each epoch (from 1); the weight of the teacher in it, None where there is none."""
        ...

    def observe(self, val_map: float) -> None:
        """Called after each validation with its AP."""
        ...

    def losses(self, model: FeatherFace, pixels: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Weighted losses of a batch by name; their sum is trained on."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs beside the companions' tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state_dict()``."""
        ...


class LabelsTask:
    """MultiBoxLoss alone: ``featherface train``."""

    def __init__(self, loss: LossConfig, processes: Processes) -> None:
        self.criterion = MultiBoxLoss(loss, processes.share)
        self.companions: nn.Module = nn.ModuleList()

    def begin(self, epoch: int) -> float | None:
        """No teacher."""
        return None

    def observe(self, val_map: float) -> None:
        """Nothing depends on it."""

    def losses(self, model: FeatherFace, pixels: Tensor, targets: Targets) -> dict[str, Tensor]:
        """``box``, ``cls``, ``landmark``."""
        return self.criterion(model(pixels), targets, *pixels.shape[2:]).terms

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


class DistillTask:
    """(1 - alpha) x the labels' losses + alpha x the teacher's: ``featherface distill``.

    Where alpha is 0 the teacher is not even asked, and the run is LabelsTask's, step for step.
    """

    def __init__(
        self,
        loss: LossConfig,
        config: DistillConfig,
        teacher: Teacher,
        student_width: int,
        schedule: AlphaSchedule,
        processes: Processes,
        seed: int = 0,
    ) -> None:
        self.criterion = MultiBoxLoss(loss, processes.share)
        self.teaching = DistillationLoss(config, processes.share)
        self.teacher, self.schedule = teacher, schedule
        self.alpha = 0.0
        wanted = config.features != "none" and config.feature > 0
        # from the seed alone: the same in all processes, and in a run that is resumed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.companions: nn.Module = (
                Adapters(student_width, teacher.config.width) if wanted and schedule.distils else nn.ModuleList()
            )

    def begin(self, epoch: int) -> float | None:
        """Alpha of this epoch."""
        self.alpha = self.schedule.value(epoch)
        return self.alpha

    def observe(self, val_map: float) -> None:
        """Alpha shrinks where the AP stands still."""
        self.schedule.observe(val_map)

    def losses(self, model: FeatherFace, pixels: Tensor, targets: Targets) -> dict[str, Tensor]:
        """``box``, ``cls``, ``landmark`` and those of DistillationLoss."""
        height, width = pixels.shape[2:]
        if not self.alpha:
            return self.criterion(model(pixels), targets, height, width).terms
        view = self.teacher.look(pixels)
        pyramid = model.pyramid(pixels)
        outputs = model.predict(pyramid)
        labelled = self.criterion(outputs, targets, height, width)
        adapted = self.companions(pyramid) if len(list(self.companions.children())) else []
        taught = self.teaching(outputs, adapted, view, targets, labelled, height, width)
        return {name: (1 - self.alpha) * term for name, term in labelled.terms.items()} | {
            name: self.alpha * term for name, term in taught.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """The schedule's."""
        return self.schedule.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The schedule's."""
        self.schedule.load_state_dict(state)
