"""What the documents say can be done: their commands parse, their links lead somewhere, their Python compiles."""

import ast
import doctest
import re
import shlex
import tomllib
from importlib import import_module
from itertools import dropwhile
from pathlib import Path

import pytest
import typer
import yaml

from featherface_cli.app import UsageError, app
from featherface_core import __version__

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
README = (ROOT / "README.md").read_text(encoding="utf-8")
GROUP = typer.main.get_command(app)
FENCE = re.compile(r"^```([a-z]*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHELLS = ("", "bash", "sh", "shell", "console")


def blocks(text: str, *languages: str) -> list[str]:
    return [body for language, body in FENCE.findall(text) if language in languages]


def spans(text: str) -> list[str]:
    """What stands between single backticks."""
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", FENCE.sub("", text))


def commands(text: str) -> list[str]:
    """Every ``featherface ...`` of a shell's block or between backticks, without comments and what it is piped into."""
    joined = "\n".join(blocks(text, *SHELLS)).replace("\\\n", " ")
    found = []
    for line in [*joined.splitlines(), *spans(text)]:
        for part in re.split(r"\|\|?|&&|;|(?<!-)>", line):
            words = re.sub(r"(^|\s)#.*", "", part).removeprefix("$ ").split()
            if words and Path(words[0]).name == "featherface":
                found.append(" ".join(["featherface", *words[1:]]))
    return found


def problem(command: str) -> str:
    """What the command line's own parser says of the names in a command; "" if all of them are known."""
    words = [word for word in shlex.split(command)[1:] if word not in ("...", "…")]
    try:
        with GROUP.make_context("featherface", words) as context:
            rest = list(dropwhile(lambda word: word.startswith("-"), words))  # the options before a command are flags
            if rest:
                name, known, arguments = GROUP.resolve_command(context, rest)
                inner = known.make_context(name, arguments, parent=context)
                if isinstance(known, typer.core.TyperGroup) and arguments:  # data check
                    name, known, arguments = known.resolve_command(inner, arguments)
                    known.make_context(name, arguments, parent=inner)
    except typer.BadParameter:
        return ""  # a word like N or SIZE where a number goes, or a path left out: the names are known
    except typer.Exit:
        return ""  # --help, --version
    except UsageError as error:
        return error.format_message()
    return ""


CASES = [
    pytest.param(document, command, id=f"{document.name}: {command}")
    for document in DOCUMENTS
    for command in dict.fromkeys(commands(document.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize(("document", "command"), CASES)
def test_a_documented_command_exists_with_its_options(document: Path, command: str) -> None:
    assert problem(command) == "", f"{document.relative_to(ROOT)}: {command}"


PARTS = dict(GROUP.commands) | {f"data {name}": part for name, part in GROUP.commands["data"].commands.items()}


@pytest.mark.parametrize("name", PARTS)
def test_the_examples_in_the_help_exist_with_their_options(name: str) -> None:
    examples = [line.strip() for line in str(PARTS[name].help).splitlines() if line.strip().startswith("feath")]
    assert examples
    assert [problem(example) for example in examples] == [""] * len(examples)


def test_the_test_above_sees_what_does_not_exist() -> None:
    text = """
Inline `featherface params --modell v1` and `featherface parms`; `featherface bench --runs 100` is right.

```bash
$ featherface detect a.jpg --weights FILE --size N \\
    --colour red   # a comment with --nonsense
featherface data chekc faces/
cd x && .venv/bin/featherface export --test-sizes | head -1
featherface detect
echo featherface bogus
```

```python
featherface bogus
```
"""
    found = commands(text)
    assert len(found) == 7
    assert [bool(problem(command)) for command in found] == [True, True, False, False, True, True, False]
    assert "--colour" in problem(found[0])
    assert "--modell" in problem(found[4])
    assert "parms" in problem(found[5])


WITH_EXAMPLES = sorted(p for p in (ROOT / "featherface_core").rglob("*.py") if ">>> " in p.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", WITH_EXAMPLES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_examples_in_docstrings_print_what_they_say(path: Path) -> None:
    module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
    assert any(test.examples for test in doctest.DocTestFinder().find(module))  # those marked SKIP too
    assert doctest.testmod(module).failed == 0


def test_the_changelog_has_a_dated_entry_for_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(__version__)}\] - \d{{4}}-\d{{2}}-\d{{2}}$", changelog, re.MULTILINE)


def test_the_hooks_run_programs_of_the_environment_that_is_active() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    packages = {re.split("[<>=]", line)[0] for line in project["optional-dependencies"]["dev"]}
    programs = {hook["entry"].split()[0] for hook in local["hooks"]}
    assert {{"lint-imports": "import-linter"}.get(program, program) for program in programs} <= packages


def test_every_command_is_in_the_readme() -> None:
    shown = {command.split()[1] for command in commands(README) if len(command.split()) > 1}
    assert set(GROUP.commands) <= shown


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document: Path) -> None:
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    targets = re.findall(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)", text) + re.findall(
        r"(?:src|href)=\"([^\"]+)\"", text
    )
    local = [target for target in targets if not re.match(r"[a-z]+:|#", target)]
    assert [t for t in local if not (document.parent / t.partition("#")[0]).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_paths_between_backticks_exist(document: Path) -> None:
    # a path is what begins with a folder of this repository; demo/ and the like are made by commands
    folders = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    missing = []
    for span in spans(document.read_text(encoding="utf-8")):
        for word in span.split():
            path = word.partition(":")[0]
            if path.split("/")[0] in folders and "/" in path and not set(path) & set("*<>{}()$"):
                missing += [] if (ROOT / path).exists() or path.startswith(("demo/", "runs/", "build/")) else [path]
    assert missing == []


def test_the_python_of_the_readme_uses_what_exists() -> None:
    for block in blocks(README, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("featherface"):
                module = import_module(str(node.module))
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def test_the_json_of_the_readme_has_the_keys_of_a_line() -> None:
    import json

    from featherface_core.detect.detect_files import as_line
    from featherface_core.results import PictureResult

    lines = [json.loads(block) for block in blocks(README, "json") if '"faces"' in block]
    for line in lines:
        assert line.keys() == as_line(PictureResult("photo.jpg", 512, 512, drawn="photo_faces.jpg")).keys()
        assert all(face.keys() == {"box", "score", "landmarks"} for face in line["faces"])
