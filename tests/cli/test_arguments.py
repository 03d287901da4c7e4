"""Arguments that several commands take."""

import argparse
from typing import Any

import pytest

from umamba.cli.arguments import add_patch_arguments, natural, positive


@pytest.mark.parametrize("given", [["32", "40", "24"], ["32,40,24"], ["32,40", "24"]])
def test_a_patch_size_may_have_spaces_or_commas(given: list[str]) -> None:
    parser = argparse.ArgumentParser()
    add_patch_arguments(parser)
    assert parser.parse_args(["--patch-size", *given]).patch_size == (32, 40, 24)
    assert parser.parse_args([]).patch_size is None


@pytest.mark.parametrize("given", ["0", "32,", "32x40", "-1"])
def test_a_patch_size_of_something_else_is_refused(given: str, capsys: Any) -> None:
    parser = argparse.ArgumentParser()
    add_patch_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args([f"--patch-size={given}"])
    assert f"{given!r} is not a list of positive numbers" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given", ["\u00b2", "\u0663", "\uff14", "4\u0663", "1_0", " 4", "+4", "9" * 5000]
)
def test_only_ascii_digits_are_numbers(given: str) -> None:
    for parse in (natural, positive):
        with pytest.raises(argparse.ArgumentTypeError, match="positive number"):
            parse(given)
    assert natural("0") == 0
    assert positive("012") == 12
