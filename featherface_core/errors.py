"""Every failure a user can meet: one line that names the value and the place, and one hint with the fix; their words."""

import re
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches


class FeatherFaceError(Exception):
    """A failure with its remedy.

    message: one line that names the offending value and where it stands. hint: one line with the fix.
    details: further lines (a list of tensors, say), shown under the message.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "", details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = tuple(details)


class ConfigError(FeatherFaceError):
    """An option or a config file that cannot be used."""

    exit_code = 2


class ParameterError(ConfigError):
    """Parameters that do not go together.

    Its texts name a parameter between backticks, `` `name` ``, or `` `name=False` `` where the value matters: a program that has
    other names for them, such as the command line, puts its own there.
    """

    def renamed(self, name_of: Callable[[str], str]) -> ConfigError:
        """The same error in other names. name_of: from what stands between backticks to what a user knows."""

        def put(text: str) -> str:
            return re.sub(r"`([\w=]+)`", lambda found: name_of(found[1]), text)

        return ConfigError(put(self.message), put(self.hint), tuple(map(put, self.details)))


class DataError(FeatherFaceError):
    """A picture, video or label that cannot be read or written."""

    exit_code = 3


class WeightsError(FeatherFaceError):
    """A weights file that cannot be read, or does not fit the network."""

    exit_code = 4


class ExportError(FeatherFaceError):
    """An ONNX file that cannot be made, read or proven equal to PyTorch."""

    exit_code = 5


class MissingPackageError(FeatherFaceError):
    """A package that is not installed, or is installed and broken."""


def refuse(parameters: Sequence[str], why: str) -> None:
    """Raise ParameterError for ``parameters``, if there are any, that have no meaning beside another. why: names that one.

    >>> refuse(["score", "nms"], "`predictions` were made elsewhere")
    Traceback (most recent call last):
    featherface_core.errors.ParameterError: `predictions` were made elsewhere; `score`, `nms` do not go with it
    """
    if parameters:
        listed = ", ".join(f"`{name}`" for name in parameters)
        verb = "does" if len(parameters) == 1 else "do"
        raise ParameterError(f"{why}; {listed} {verb} not go with it", f"leave {listed} out")


def did_you_mean(value: str, known: Iterable[str]) -> str:
    """A hint that names the closest of ``known``, or lists them all.

    >>> did_you_mean("v3", ["v1", "v2"])
    "did you mean 'v2'? known: v1, v2"
    """
    names = sorted(known)
    close = get_close_matches(value, names, n=1, cutoff=0.5)
    listed = "known: " + ", ".join(names)
    return f"did you mean {close[0]!r}? {listed}" if close else listed


def first_line(problem: BaseException, most: int = 200) -> str:
    """What a foreign exception says, in one line of at most ``most`` characters."""
    text = str(problem).strip() or type(problem).__name__
    return text.splitlines()[0][:most]


def first_sentence(problem: BaseException) -> str:
    """As ``first_line``, up to the first full stop: torch writes paragraphs on one line."""
    return first_line(problem).split(". ")[0]


def counted(count: int, one: str, more: str = "") -> str:
    """How many of what. more: several of them, by default ``one`` with an s.

    >>> counted(1, "face"), counted(1200, "face"), counted(0, "entry", "entries")
    ('1 face', '1,200 faces', '0 entries')
    """
    return f"{count:,} {one if count == 1 else more or one + 's'}"
