"""How a command's function becomes a parser: groups of options, what was given, and options' names in the core's messages."""

import inspect
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import wraps
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand
from typer.models import OptionInfo

from featherface_core.errors import ParameterError


@dataclass(frozen=True)
class Fields:
    """Marks a parameter of a command whose type is a dataclass: each of its fields is an option, of that type and default.

    options: names and help by field, where the fields do not carry them; in the order of the help.
    """

    options: Mapping[str, OptionInfo] | None = None

    def parameters(self, kind: Any) -> dict[str, tuple[Any, Any]]:
        """Annotation and default by the option's name."""
        hints, defaults = get_type_hints(kind, include_extras=True), {f.name: f.default for f in fields(kind)}
        if self.options is None:
            return {name: (hints[name], default) for name, default in defaults.items()}
        return {name: (Annotated[hints[name], option], defaults[name]) for name, option in self.options.items()}

    def gather(self, kind: Any, values: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
        """The dataclass. Raises what it raises, such as ConfigError."""
        return kind(**values)


@dataclass(frozen=True)
class Setting:
    """An option that changes keys of a config, whose own values stand where it is not given.

    keys: dotted, each of which it sets. option: names and help. value: what a flag sets, None for an option that takes a
    value of the first key's type. parse: from the text that was typed, where that type is none of the command line's.
    """

    keys: tuple[str, ...]
    option: OptionInfo
    value: Any = None
    parse: Callable[[str], Any] | None = None


@dataclass(frozen=True)
class Changes:
    """Marks a parameter of a command that is a dict of the values given for keys of ``config``, by dotted key.

    defaults: the help shows those of ``config``; without, something else decides what stands where nothing is given.
    """

    config: Any
    settings: Mapping[str, Setting]
    defaults: bool = False

    def parameters(self, kind: Any) -> dict[str, tuple[Any, Any]]:
        """Annotation and default by the option's name."""
        return {name: self._parameter(setting) for name, setting in self.settings.items()}

    def _parameter(self, setting: Setting) -> tuple[Any, Any]:
        if setting.value is not None:
            return Annotated[bool, setting.option], False
        kind = str if setting.parse else _type_of(self.config, setting.keys[0])
        default = getattr(self.config, setting.keys[0]) if self.defaults else None
        return Annotated[kind if self.defaults else kind | None, setting.option], default

    def gather(self, kind: Any, values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """The changes. Raises what a setting's ``parse`` raises."""
        changes: dict[str, Any] = {}
        for name, value in given.items():
            setting = self.settings[name]
            if setting.value is not None:
                value = setting.value
            elif setting.parse is not None:
                value = setting.parse(value)
            changes |= dict.fromkeys(setting.keys, value)
        return changes


def _type_of(config: Any, key: str) -> Any:
    """The type of a key's value; of one that is chosen among words, str: the config itself says what is wrong with it."""
    for name in key.split("."):
        config = get_type_hints(config)[name]
    return str if get_origin(config) is Literal else config


def grouped(function: Callable[..., None]) -> Callable[..., None]:
    """The function of a command as Typer reads it: with an option for each field of its groups (``Fields``, ``Changes``)."""
    signature = inspect.signature(function, eval_str=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[Any, Fields | Changes, tuple[str, ...]]] = {}
    for parameter in signature.parameters.values():
        kind, *marks = get_args(parameter.annotation) or (None,)
        mark = next((mark for mark in marks if isinstance(mark, Fields | Changes)), None)
        if mark is None:
            parameters.append(parameter)
            continue
        options = mark.parameters(kind)
        groups[parameter.name] = kind, mark, tuple(options)
        parameters += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in options.items()
        ]

    @wraps(function)
    def command(ctx: typer.Context, **values: Any) -> None:
        there = given(ctx)
        gathered = {
            group: mark.gather(
                kind, {n: values.pop(n) for n in names}, {n: value for n, value in there.items() if n in names}
            )
            for group, (kind, mark, names) in groups.items()
        }
        function(ctx, **values, **gathered)

    # Typer gives all arguments by name, so that their kinds do not matter
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
    )
    return command


def given(ctx: typer.Context) -> dict[str, Any]:
    """The parameters that stand on the command line, defaults left out, and their values."""
    return {
        name: value
        for name, value in ctx.params.items()
        if getattr(ctx.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }


class Command(TyperCommand):
    """A command that puts the names of its options where the core names parameters."""

    def invoke(self, ctx: Any) -> Any:
        """As Typer's."""
        try:
            return super().invoke(ctx)
        except ParameterError as problem:
            raise problem.renamed(self._option) from problem

    def _option(self, parameter: str) -> str:
        """``--format`` for "form", ``--static`` for "dynamic=False"; what is no parameter of this command as it is."""
        name, _, off = parameter.partition("=")
        for known in self.params:
            if known.name == name:
                names = known.secondary_opts if off == "False" and known.secondary_opts else known.opts
                return max(names, key=len)
        return f"`{parameter}`"


ORDER = "featherface.order"


class InOrder(Command):
    """A command that keeps the order in which its options were given, whichever names they have."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As click's, and the names in their order, once for each time, in ``ctx.meta``."""
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        ctx.meta[ORDER] = [parameter.name for parameter in order]
        return super().parse_args(ctx, args)


def with_optional_value(option: str, value: str) -> type[Command]:
    """A command class that lets ``option`` stand alone, meaning ``value``: ``--test-sizes`` or ``--test-sizes 320,640``."""

    class OptionalValueCommand(Command):
        def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
            for i, word in enumerate(args):
                if word == option and (i + 1 == len(args) or args[i + 1].startswith("-")):
                    args = [*args[:i], f"{option}={value}", *args[i + 1 :]]
                    break
            return super().parse_args(ctx, args)

    return OptionalValueCommand


def command_line() -> str:
    """What was typed, for a run's folder."""
    return "featherface " + shlex.join(sys.argv[1:])
