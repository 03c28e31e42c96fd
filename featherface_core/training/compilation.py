"""torch.compile for training: a network's two halves, compiled for training's one shape and put back for validation."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from featherface_core.errors import FeatherFaceError, first_line
from featherface_core.models.featherface import FeatherFace


class CompilationError(FeatherFaceError):
    """The compiler failed."""


class Compiled:
    """A network that can run compiled or as it is written; its tensors are the same.

    Validation has many shapes, each of which would be compiled anew, so it runs the network as it is written.
    """

    def __init__(self, model: FeatherFace) -> None:
        self.model = model
        self._halves = torch.compile(model.pyramid), torch.compile(model.predict)

    def use(self, on: bool) -> None:
        """Compiled from now on, or not."""
        if on:
            self.model.pyramid, self.model.predict = self._halves  # type: ignore[method-assign]
        elif "pyramid" in vars(self.model):
            del self.model.pyramid, self.model.predict

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raise CompilationError where the compiler fails, which it does in a first step, forward or backward."""
        from torch._dynamo.exc import TorchDynamoException

        try:
            yield
        except TorchDynamoException as problem:
            raise CompilationError(
                f"torch.compile cannot compile {self.model.config.name}: {first_line(problem)}",
                "it needs a C++ compiler; train without it: --set machine.compile=false",
            ) from problem
