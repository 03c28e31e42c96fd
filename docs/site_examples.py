"""For the site: examples in docstrings (doctests) become blocks of code; as Markdown they would be quotations."""

import re
from typing import Any

import griffe

EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
SKIPPED = re.compile(r"\s+# doctest: \+SKIP")


class Examples(griffe.Extension):
    """Puts each doctest of each docstring into a fenced block."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of what griffe has just read."""
        if obj.docstring is not None:
            text = SKIPPED.sub("", obj.docstring.value)
            obj.docstring.value = EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", text)
