"""The parser of commands and options; for unknown ones it names the most similar."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from umamba.errors import closest
from umamba.system.terminal import one_line

__all__ = ["CommandParser"]


class CommandParser(argparse.ArgumentParser):
    """argparse's parser with shorter words for a beginner's mistakes."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, without listing all options; exit with 2."""
        usage = f"see {self.prog} --help"
        sys.stderr.write(f"{self.prog}: {one_line(message)}\n{usage}\n")
        sys.exit(2)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse, and for an unknown option name the most similar one."""
        parsed, rest = self.parse_known_args(args, namespace)
        if rest:
            parser = self._commands().get(getattr(parsed, "command", ""), self)
            parser.error(f"unknown: {' '.join(rest)}; {parser._closest_option(rest)}".rstrip("; "))
        return parsed

    def _commands(self) -> dict[str, "CommandParser"]:
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return action.choices
        return {}

    def _closest_option(self, rest: Sequence[str]) -> str:
        options = [text.partition("=")[0] for text in rest if text.startswith("-")]
        return closest(options[0], self._option_string_actions) if options else ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(choice) for choice in action.choices]
        what = "command" if isinstance(action, argparse._SubParsersAction) else "value"
        message = f"{value!r} is not a {what}; {closest(str(value), known)}"
        raise argparse.ArgumentError(action, f"{message}choose one of {', '.join(known)}")
