"""What the command line says and how it ends, and what a refusal looks like."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SCRIPT = str(Path(sys.executable).with_name("featherface"))
# the command line as a program that says at its end which modules it loaded
SAYS_MODULES = (
    "import sys\nfrom featherface_cli.app import main\ntry:\n    main()\nfinally:\n    print('LOADED', *sys.modules)"
)


@dataclass
class Ran:
    code: int
    out: str
    err: str


Run = Callable[..., Ran]


def assert_refused(ran: Ran, code: int, *names: str) -> None:
    """One error line that names what is wrong, one hint, the documented code, and no traceback."""
    assert ran.code == code, ran.err
    errors = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, ran.err
    assert sum(line.startswith("hint: ") for line in ran.err.splitlines()) == 1, ran.err
    assert "Traceback" not in ran.err
    for name in names:
        assert name in ran.err


def words_of(text: str) -> str:
    """What a screen says, however its lines are broken."""
    return " ".join(text.split())
