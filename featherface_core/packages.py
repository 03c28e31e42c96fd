"""Packages that are imported only where they are used."""

from importlib import import_module
from typing import Any

from featherface_core.errors import MissingPackageError


def import_package(name: str, fix: str) -> Any:
    """The module ``name``. Raises MissingPackageError, with ``fix`` as its hint, where it is not installed or broken."""
    try:
        return import_module(name)
    except Exception as problem:  # a broken wheel fails with whatever its loader meets
        raise MissingPackageError(f"{name} cannot be imported: {problem}", fix) from None
