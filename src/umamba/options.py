"""Options that are stated once: a dataclass field defines a command's option and a keyword.

A request is a frozen dataclass whose fields carry an `option` or an `argument`. From them the
command line makes its parser and the Python API its signature and docstring; both check values
in the same way.
"""

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from umamba.errors import UMambaError, unknown_name

__all__ = [
    "OPTION",
    "Compound",
    "OneOf",
    "Option",
    "Request",
    "Section",
    "add_options",
    "argument",
    "as_arguments",
    "describe_options",
    "flags_of",
    "from_namespace",
    "option",
    "parsed",
]

OPTION = "umamba.option"  # the key in the metadata of a field


@dataclass(frozen=True, eq=False)
class Section:
    """A part of a command's help."""

    title: str
    description: str | None = None


@dataclass(frozen=True, eq=False)
class OneOf:
    """Options that exclude each other; one of them may be required."""

    required: bool = False
    section: Section | None = None


@dataclass(frozen=True)
class Option:
    """One option of a command and keyword of a function.

    Args:
        help: Its help, in the words of the command line.
        flags: Its spellings on the command line; by default `--` and the field's name.
        is_positional: Whether the command line recognises it by its position.
        check: Takes a text of the command line, or a value, and returns the value.
        choices: The only values allowed.
        metavar: The placeholder for the value in the help.
        nargs: As in argparse; `check` then takes the list of texts.
        section: The section of the help that lists it.
        one_of: The group of options that exclude each other, this one included.
        is_late: Whether the request checks it instead of the parser: its message names the option.
    """

    help: str
    flags: tuple[str, ...] = ()
    is_positional: bool = False
    check: Callable[[Any], Any] | None = None
    choices: tuple[str, ...] | None = None
    metavar: str | tuple[str, ...] | None = None
    nargs: str | int | None = None
    section: Section | None = None
    one_of: OneOf | None = None
    is_late: bool = False

    def accept(self, value: Any) -> Any:
        """Return a value, checked and converted.

        Raises:
            UMambaError: If it is not allowed.
        """
        if self.choices is not None and value not in self.choices:
            raise UMambaError(unknown_name("value", str(value), self.choices))
        return value if self.check is None else self.check(value)


@dataclass(frozen=True)
class Compound:
    """One keyword of a function that corresponds to several options of a command.

    Args:
        help: The meaning of the keyword.
        add: Adds the options to a parser.
        take: Makes the keyword's value from the parsed options.
        give: Returns the options that the value is made from.
    """

    help: str
    add: Callable[[argparse.ArgumentParser], None]
    take: Callable[[argparse.Namespace], Any]
    give: Callable[[Any], list[str]]

    def accept(self, value: Any) -> Any:
        """Return the value unchanged: it checks itself."""
        return value


def option(help: str, *flags: str, **details: Any) -> Mapping[str, Option]:  # noqa: A002 - argparse
    """Return the metadata of a field that is an option; `details` are those of `Option`."""
    return {OPTION: Option(help, flags, **details)}


def argument(help: str, **details: Any) -> Mapping[str, Option]:  # noqa: A002 - argparse's name
    """Return the metadata of a field that the command line recognises by its position."""
    return {OPTION: Option(help, is_positional=True, **details)}


class Request:
    """Base of the dataclasses that hold the arguments of a command and of its function."""

    def __post_init__(self) -> None:
        """Check every value that is not the default.

        Raises:
            UMambaError: If a value is not allowed, or two options exclude each other.
        """
        given: dict[OneOf, str] = {}
        alternatives: dict[OneOf, list[str]] = {}
        for name, (field, stated) in _options(type(self)).items():
            value = getattr(self, name)
            is_given = not _same(value, _default(field))
            if is_given and value is not None:
                try:
                    object.__setattr__(self, name, stated.accept(value))
                except UMambaError as error:
                    is_named = isinstance(stated, Option) and stated.is_late
                    msg = str(error) if is_named else f"{name}: {error}"
                    raise type(error)(msg) from None
            one_of = stated.one_of if isinstance(stated, Option) else None
            if one_of is not None:
                alternatives.setdefault(one_of, []).append(name)
                if is_given and given.setdefault(one_of, name) != name:
                    msg = f"{given[one_of]} and {name} exclude each other; give only one of them"
                    raise UMambaError(msg)
        for one_of, names in alternatives.items():
            if one_of.required and one_of not in given:
                msg = f"{' or '.join(names)} is missing; give one of them"
                raise UMambaError(msg)


R = TypeVar("R", bound=Request)


def add_options(parser: argparse.ArgumentParser, request: type[Request]) -> None:
    """Add the fields of a request to a parser, in order."""
    places: dict[object, Any] = {None: parser}
    for name, (field, stated) in _options(request).items():
        if isinstance(stated, Compound):
            stated.add(parser)
            continue
        section = stated.one_of.section if stated.one_of else stated.section
        if section not in places and section is not None:
            places[section] = parser.add_argument_group(section.title, section.description)
        place = places[section]
        if stated.one_of is not None:
            if stated.one_of not in places:
                group = place.add_mutually_exclusive_group(required=stated.one_of.required)
                places[stated.one_of] = group
            place = places[stated.one_of]
        _add(place, name, field, stated)


def from_namespace(request: type[R], args: argparse.Namespace) -> R:
    """Return the request from the arguments that a parser of `add_options` has parsed.

    Raises:
        UMambaError: If a value is not allowed, or options do not go together.
    """
    values = {
        name: stated.take(args) if isinstance(stated, Compound) else getattr(args, name)
        for name, (_, stated) in _options(request).items()
    }
    return request(**values)


def flags_of(request: type[Request]) -> dict[str, str]:
    """Return the first spelling on the command line of each option of a request, by its name."""
    named = {name: _flags(name, stated) for name, (_, stated) in _options(request).items()}
    return {name: flags[0] for name, flags in named.items() if flags}


def as_arguments(request: Request) -> list[str]:
    """Return the arguments that make the same request in another process, in whatever folder."""
    places, given = [], []
    for name, (field, stated) in _options(type(request)).items():
        value = getattr(request, name)
        if isinstance(stated, Compound):
            given += stated.give(value)
        elif stated.is_positional:
            places.append(str(value))
        elif not _same(value, _default(field)):
            given += [_flags(name, stated)[0], *_texts(value, together=stated.nargs is None)]
    return places + given


def _texts(value: Any, *, together: bool) -> list[str]:
    if isinstance(value, bool):
        return []
    if isinstance(value, list | tuple):
        texts = [text for item in value for text in _texts(item, together=together)]
        return [",".join(texts)] if together else texts
    return [str(value.absolute() if isinstance(value, Path) else value)]


def parsed(check: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return a check as argparse's `type`, for options that belong to no request."""

    def parse(text: str) -> Any:
        try:
            return check(text)
        except UMambaError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def describe_options(request: type[Request]) -> str:
    """Return the `Args` section of a docstring, which names options by their keywords."""
    stated = {name: stated for name, (_, stated) in _options(request).items()}
    names = {flag: name for name, its in stated.items() for flag in _flags(name, its)}
    pattern = "|".join(re.escape(flag) for flag in sorted(names, key=len, reverse=True))
    lines = []
    for name, its in stated.items():
        text = its.help
        if pattern:
            text = re.sub(rf"(?<![\w-])({pattern})(?![\w-])", lambda m: f"`{names[m[0]]}`", text)
        choices = its.choices if isinstance(its, Option) else None
        some = f" ({', '.join(choices)})" if choices else ""
        lines.append(f"    {name}: {text[:1].upper()}{text[1:]}{some}.")
    return "Args:\n" + "\n".join(lines)


def _options(request: type[Request]) -> dict[str, tuple["Field[Any]", Option | Compound]]:
    found = fields(request)  # type: ignore[arg-type] # every request is a dataclass
    return {
        field.name: (field, field.metadata[OPTION]) for field in found if OPTION in field.metadata
    }


def _default(field: "Field[Any]") -> Any:
    """Return a field's default; `MISSING` where there is none."""
    return field.default if field.default_factory is MISSING else field.default_factory()


def _same(value: object, default: object) -> bool:
    return value is default or (type(value) is type(default) and value == default)


def _flags(name: str, stated: Option | Compound) -> tuple[str, ...]:
    if isinstance(stated, Compound) or stated.is_positional:
        return ()
    return stated.flags or (f"--{name.replace('_', '-')}",)


class _Accept(argparse.Action):
    """An argparse action that keeps the value which an option's check returns."""

    def __init__(self, *args: Any, stated: Option, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stated = stated

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        _option: str | None = None,
    ) -> None:
        if values is not None and not self._stated.is_late:
            try:
                values = self._stated.accept(values)
            except UMambaError as error:
                raise argparse.ArgumentError(self, str(error)) from None
        setattr(namespace, self.dest, values)


def _add(place: Any, name: str, field: "Field[Any]", stated: Option) -> None:
    flags, default = _flags(name, stated), _default(field)
    details: dict[str, Any] = {"help": stated.help}
    if flags:
        details |= {"dest": name}
    if isinstance(default, bool):
        place.add_argument(*flags, action="store_false" if default else "store_true", **details)
        return
    if flags and default is MISSING:
        details |= {"required": True}
    if default is not MISSING:
        details |= {"default": default}
    for key in ("metavar", "nargs", "choices"):
        if getattr(stated, key) is not None:
            details[key] = getattr(stated, key)
    place.add_argument(*(flags or (name,)), action=_Accept, stated=stated, **details)
