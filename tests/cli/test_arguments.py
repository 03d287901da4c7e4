"""Arguments that several commands take."""

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from umamba.cli.main import build_parser
from umamba.errors import UMambaError
from umamba.nnunet.requests import PlanRequest, TrainingRequest
from umamba.option_checks import natural, positive
from umamba.options import as_arguments, from_namespace


@pytest.mark.parametrize("given", [["32", "40", "24"], ["32,40,24"], ["32,40", "24"]])
def test_a_patch_size_may_have_spaces_or_commas(given: list[str]) -> None:
    plan = ["plan", "4", "--model", "umamba_bot"]
    parser = build_parser()
    assert parser.parse_args([*plan, "--patch-size", *given]).patch_size == (32, 40, 24)
    assert parser.parse_args(plan).patch_size is None
    asked = PlanRequest(dataset=4, model="umamba_bot", patch_size=[32, 40, 24])
    assert asked.patch_size == (32, 40, 24)


@pytest.mark.parametrize("given", ["0", "32,", "32x40", "-1"])
def test_a_patch_size_of_something_else_is_refused(given: str, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["plan", "4", "--model=umamba_bot", f"--patch-size={given}"])
    assert f"{given!r} is not a list of positive numbers" in capsys.readouterr().err


@pytest.mark.parametrize(
    "given", ["\u00b2", "\u0663", "\uff14", "4\u0663", "1_0", " 4", "+4", "9" * 5000]
)
def test_only_ascii_digits_are_numbers(given: str) -> None:
    for parse in (natural, positive):
        with pytest.raises(UMambaError, match="positive number"):
            parse(given)
    assert natural("0") == 0
    assert positive("012") == 12


def _options() -> Iterator[tuple[str, argparse.Action]]:
    parsers = [build_parser()]
    for parser in parsers:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                parsers += action.choices.values()
            elif not isinstance(action, argparse._HelpAction | argparse._VersionAction):
                yield parser.prog, action


def test_every_option_says_what_it_is_and_its_default() -> None:
    unsaid, options = [], list(_options())
    assert {"umamba plan", "umamba train", "umamba compare"} <= {command for command, _ in options}
    for command, action in options:
        said = action.help or ""
        chosen = action.default not in (None, False, argparse.SUPPRESS, (), [], "")
        if not said or (chosen and "default" not in said):
            unsaid.append(f"{command} {action.option_strings or action.dest}")
        if chosen and isinstance(action.default, str | int | float):
            default = action.default
            shown = f"{default:g}" if isinstance(default, float) else str(default)
            assert shown in said, (command, action.option_strings)
    assert not unsaid


@pytest.mark.parametrize("text", ["0", "-0.5", "1.5", "nan", "x"])
def test_a_step_is_a_part_of_a_patch(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        build_parser().parse_args(["predict", "-i", "a", "-o", "b", f"-step_size={text}"])
    assert left.value.code == 2
    assert f"'{text}' is not a number above 0 and at most 1" in capsys.readouterr().err


def test_arguments_of_a_request_make_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    train = ["train", "4", "2d", "all", "-p", "P", "--epochs", "3", "--npz", "--results", "/r"]
    train += ["-pretrained_weights", "w.pth", "--hours", "0.5"]
    asked = from_namespace(TrainingRequest, build_parser().parse_args(train))
    again = as_arguments(asked)
    assert str(tmp_path / "w.pth") in again  # a job runs in another folder
    made = from_namespace(TrainingRequest, build_parser().parse_args(["train", *again]))
    assert made == replace(asked, pretrained_weights=tmp_path / "w.pth")

    for given, kept in (("$TMPDIR/x", "$TMPDIR/x"), ("x", str(tmp_path / "x"))):
        staged = replace(asked, stage=given)
        assert as_arguments(staged)[as_arguments(staged).index("--stage") + 1] == kept

    plan = ["plan", "4", "--model", "umamba_bot", "--patch-size", "8", "16", "--features", "4,8"]
    asked_plan = from_namespace(PlanRequest, build_parser().parse_args([*plan, "--overwrite"]))
    words = ["plan", *as_arguments(asked_plan)]
    assert from_namespace(PlanRequest, build_parser().parse_args(words)) == asked_plan
