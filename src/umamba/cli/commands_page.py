"""The reference page of all commands and options, made from their parsers.

`python -m umamba.cli.commands_page > docs/reference/commands.md` writes it anew.
"""

import argparse
import re
import sys
from collections.abc import Iterator

from umamba.cli.main import build_parser
from umamba.runtime.__main__ import build_parser as build_runtime_parser

__all__ = ["commands_as_markdown"]

_INTRODUCTION = """\
# Commands

Every command with its options, made from the parsers that read them: `umamba COMMAND --help`
shows the same in a terminal. Results go to stdout, everything else to stderr. All commands have the
same [exit codes](exit-codes.md). Options with one dash, such as `-p` and `-device`, have the names
that nnU-Net's own commands give them.
"""

# What stands in backticks already, and the options and variables that do not.
_CODE = re.compile(r"(`[^`]*`)|(?<!\w)(--?[a-z][\w-]*(?:=\S*\w)?|\$\w+)")


def commands_as_markdown() -> str:
    """Return the page."""
    parser = build_parser()
    runtime = build_runtime_parser()
    commands = _subcommands(parser) | {"runtime": runtime}
    about = _summaries(parser) | {"runtime": _text(runtime.description)}
    rows = [f"| [`{p.prog}`](#{_anchor(_heading(p))}) | {about[n]} |" for n, p in commands.items()]
    index = "\n".join(["| command | purpose |", "|---|---|", *rows])
    sections = [part for p in commands.values() for part in _section(p, level=2)]
    return "\n\n".join([_INTRODUCTION.strip(), index, *sections]) + "\n"


def _subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _summaries(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Return what the list of subcommands says of each."""
    action = next(a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return {choice.dest: _text(choice.help) for choice in action._choices_actions}


def _section(parser: argparse.ArgumentParser, *, level: int) -> Iterator[str]:
    yield f"{'#' * level} {_heading(parser)}"
    if parser.description:
        yield _text(parser.description)
    yield from _examples(parser.epilog or "")
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if _is_listed(action)]
        if actions:
            if group.title not in ("positional arguments", "options"):
                about = f": {_text(group.description)}" if group.description else ""
                yield f"**{group.title}**{about}"
            heads = "argument" if group.title == "positional arguments" else "option"
            rows = [f"| {_spelling(action)} | {_meaning(action)} |" for action in actions]
            yield "\n".join([f"| {heads} | meaning |", "|---|---|", *rows])
    for exclusive in parser._mutually_exclusive_groups:
        names = ", ".join(f"`{a.option_strings[0]}`" for a in exclusive._group_actions)
        yield f"{'Exactly' if exclusive.required else 'At most'} one of {names} may be given."
    for child in _subcommands(parser).values():
        yield from _section(child, level=level + 1)


def _heading(parser: argparse.ArgumentParser) -> str:
    """Return a command's name without `python -m`, whose anchor differs between sites."""
    return parser.prog.removeprefix("python -m ")


def _examples(epilog: str) -> Iterator[str]:
    """Return what follows the options of a command: its example, or a longer text as it stands."""
    command = re.fullmatch(r"example: (.+)", epilog.strip())
    if command:
        yield f"```bash\n{command[1]}\n```"
    elif epilog:
        yield f"```text\n{epilog.strip()}\n```"


def _is_listed(action: argparse.Action) -> bool:
    return not isinstance(action, argparse._HelpAction | argparse._SubParsersAction)


def _spelling(action: argparse.Action) -> str:
    value = _value(action)
    names = action.option_strings or [value]
    value = f" {value}" if action.option_strings and value else ""
    return ", ".join(f"`{name}{value}`" for name in names).replace("|", "\\|")


def _value(action: argparse.Action) -> str:
    """Return the placeholder of an argument's values, as its help shows it."""
    if action.nargs == 0:
        return ""
    formatter = argparse.HelpFormatter("", max_help_position=0, width=10_000)
    default = formatter._get_default_metavar_for_positional
    if action.option_strings:
        default = formatter._get_default_metavar_for_optional
    return formatter._format_args(action, default(action))


def _meaning(action: argparse.Action) -> str:
    """Return an argument's help, with whatever it does not say of its default."""
    text = _text(action.help).replace("|", "\\|")
    notes = ["required"] if action.required and action.option_strings else []
    has_default = action.default not in (None, False, "", (), [])
    if has_default and action.nargs != 0 and "default" not in text:
        notes.append(f"default: `{action.default}`")
    return text + (f" ({'; '.join(notes)})" if notes else "")


def _text(text: str | None) -> str:
    """Return words of a parser as Markdown."""
    plain = re.sub(r"\s+", " ", (text or "").replace("%%", "%")).strip()
    return _CODE.sub(lambda found: found[1] or f"`{found[2]}`", plain).replace("*", "\\*")


def _anchor(heading: str) -> str:
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading))


if __name__ == "__main__":
    sys.stdout.write(commands_as_markdown())
