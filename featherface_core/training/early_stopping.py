"""When to stop a run before its last epoch. Imports no torch."""

import math
from typing import Any

from featherface_core.config import check_range
from featherface_core.errors import ConfigError
from featherface_core.recipe import MOST_EPOCHS

ROUNDING = 1e-12  # a fall from 0.8 to 0.72 is one of 10 %, whatever binary fractions make of it


class SmartEarlyStopping:
    """Stops a run that no longer gets better, by rules that depend on the epoch.

    Before ``min_epoch`` it never stops. From there on: inside ``optimal_window`` (both ends included) half the ``patience``,
    rounded up, without improvement stops; before and after the window the full patience does; after the window a fall of the
    AP by ``degradation`` from its best stops at once. Epochs before ``min_epoch`` count towards the patience.

    patience: epochs, 1 or more; epochs, not calls, so that it means the same where only each fifth epoch is validated.
    min_epoch: 0 or more. optimal_window: first and last epoch. degradation: share of the best AP, above 0 to 1.
    min_delta: how much better an AP must be to count, 0 to 1. Raises ConfigError for values outside of these.

    best_epoch: epoch of the last improvement, 0 before any. best_map: best AP so far, None before any.
    epochs_without_improvement: 0 after an improvement. reason: in words why it stopped, "" where it did not.

    >>> stopper = SmartEarlyStopping(patience=2, min_epoch=1, optimal_window=(50, 60))
    >>> [stopper.should_stop(epoch, 1.0, val_map) for epoch, val_map in enumerate([0.5, 0.6, 0.6, 0.6], start=1)]
    [False, False, False, True]
    >>> stopper.reason
    'no better AP for 2 epochs at epoch 4: best 0.600 at epoch 2'
    """

    def __init__(
        self,
        patience: int = 20,
        min_epoch: int = 100,
        optimal_window: tuple[int, int] = (100, 120),
        degradation: float = 0.10,
        min_delta: float = 0.0,
    ) -> None:
        check_range("--early-stopping-patience", patience, 1, MOST_EPOCHS)
        check_range("min_epoch", min_epoch, 0, MOST_EPOCHS)
        if not isinstance(optimal_window, tuple | list) or len(optimal_window) != 2:
            raise ConfigError(f"optimal_window {optimal_window!r} is not a first and a last epoch", "use (100, 120)")
        start, end = optimal_window
        check_range("--optimal-window-start", start, 0, MOST_EPOCHS)
        check_range("--optimal-window-end", end, 0, MOST_EPOCHS)
        if end < start:
            raise ConfigError(
                f"--optimal-window-end {end} is before --optimal-window-start {start}", "for example 100 and 120"
            )
        check_range("degradation", degradation, 0.0, 1.0)
        if degradation == 0:
            raise ConfigError("degradation 0 would stop at the best epoch itself", "use for example 0.1")
        check_range("min_delta", min_delta, 0.0, 1.0)
        self.patience = patience
        self.min_epoch = min_epoch
        self.optimal_window = (start, end)
        self.degradation = degradation
        self.min_delta = min_delta
        self.best_epoch = 0
        self.best_map: float | None = None
        self.best_map_epoch = 0
        self.best_loss: float | None = None
        self.epochs_without_improvement = 0
        self.reason = ""
        self._first = 0
        self._last = 0

    def should_stop(self, epoch: int, val_loss: float | None, val_map: float | None = None) -> bool:
        """True if the run should end after this epoch; ``reason`` then says why. Call it after each validation.

        epoch: from 1, and never falling. val_loss: any number. val_map: AP, 0 to 1. A value of None or NaN was not measured
        and improves nothing. An epoch is better if its AP is above the best plus ``min_delta``, or, where the AP is unknown
        or equals the best (to within ``min_delta`` above it), if its loss is below the lowest so far. Raises ConfigError for
        an epoch below 1 or before the last one.
        """
        check_range("epoch", epoch, 1, MOST_EPOCHS)
        if epoch < self._last:
            raise ConfigError(
                f"epoch {epoch} comes after epoch {self._last}", "call should_stop in the order of epochs"
            )
        self._first = self._first or epoch
        self._last = epoch
        ap, loss = _known(val_map), _known(val_loss)
        if self._improves(ap, loss):
            self.best_epoch = epoch
        if ap is not None and (self.best_map is None or ap > self.best_map + self.min_delta):
            self.best_map, self.best_map_epoch = ap, epoch
        if loss is not None and (self.best_loss is None or loss < self.best_loss):
            self.best_loss = loss
        # before any improvement the first epoch seen is the start, be it the 100th of a run
        self.epochs_without_improvement = epoch - (self.best_epoch or self._first)
        self.reason = self._why(epoch, ap)
        return bool(self.reason)

    def _improves(self, ap: float | None, loss: float | None) -> bool:
        if ap is not None and (self.best_map is None or ap > self.best_map + self.min_delta):
            return True
        loss_is_lower = loss is not None and (self.best_loss is None or loss < self.best_loss)
        return loss_is_lower and (ap is None or self.best_map is None or ap >= self.best_map)

    def _why(self, epoch: int, ap: float | None) -> str:
        start, end = self.optimal_window
        if epoch < self.min_epoch:
            return ""
        inside = start <= epoch <= end
        allowed = math.ceil(self.patience / 2) if inside else self.patience
        waited = self.epochs_without_improvement
        if waited >= allowed:
            where = f" (half the patience, epochs {start} to {end})" if inside else ""
            what = "lower validation loss" if self.best_map is None else "better AP"
            return f"no {what} for {waited} epoch{'s' * (waited != 1)}{where} at epoch {epoch}: {self._best()}"
        if epoch > end and ap is not None and self.best_map:
            fall = (self.best_map - ap) / self.best_map
            if fall >= self.degradation - ROUNDING:
                return f"AP fell by {fall:.0%} to {ap:.3f} at epoch {epoch}: {self._best()}"
        return ""

    def _best(self) -> str:
        if self.best_map is not None:
            return f"best {self.best_map:.3f} at epoch {self.best_map_epoch}"
        if self.best_loss is not None:
            return f"best {self.best_loss:.4g} at epoch {self.best_epoch}"
        return "none was ever measured"

    def state_dict(self) -> dict[str, Any]:
        """All that changes during a run, as plain values; the arguments of the constructor are not part of it."""
        return {
            "best_epoch": self.best_epoch,
            "best_map": self.best_map,
            "best_map_epoch": self.best_map_epoch,
            "best_loss": self.best_loss,
            "epochs_without_improvement": self.epochs_without_improvement,
            "reason": self.reason,
            "first": self._first,
            "last": self._last,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what ``state_dict`` gave."""
        self.best_epoch = state["best_epoch"]
        self.best_map = state["best_map"]
        self.best_map_epoch = state["best_map_epoch"]
        self.best_loss = state["best_loss"]
        self.epochs_without_improvement = state["epochs_without_improvement"]
        self.reason = state["reason"]
        self._first = state["first"]
        self._last = state["last"]


def _known(value: float | None) -> float | None:
    """A measured value as a plain number; None for what was not measured, NaN and infinite included."""
    return float(value) if value is not None and math.isfinite(value) else None
