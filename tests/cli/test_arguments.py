"""Arguments that several commands take."""

import argparse
import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reference_cases import REPOSITORY
from umamba.cli.main import build_parser
from umamba.errors import UMambaError
from umamba.nnunet.requests import PlanRequest, TrainingRequest
from umamba.option_checks import fold_numbers, natural, positive
from umamba.options import Request, as_arguments, flags_of, from_namespace


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


@pytest.mark.parametrize("given", [[8.9], [8, True], ["8", None], [0], []])
def test_a_list_of_something_else_is_refused(given: Any) -> None:
    with pytest.raises(UMambaError, match="is not a list of positive numbers"):
        PlanRequest(dataset=4, model="umamba_bot", features=given)


def test_numbers_of_folds() -> None:
    assert [fold_numbers(given) for given in ("0-2,1", [2, "0"], 3)] == [(0, 1, 2), (0, 2), (3,)]
    assert fold_numbers(["0,2", "4-5"]) == (0, 2, 4, 5)  # type: ignore[list-item]
    for wrong in ("0,4-2", "5-3,0", "", [], [1.5], "0-", None):
        with pytest.raises(UMambaError, match="is not a list of folds such as"):
            fold_numbers(wrong)  # type: ignore[arg-type]


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


# Keywords that are those of plans and networks, too, or of Python alone.
_NOT_ONLY_OPTIONS = {"patch_size", "batch_size", "activation_checkpointing", "step_size"}


def _keywords() -> set[str]:
    """Return the keywords of all requests that are options and nothing else."""
    build_parser()
    requests, found = [Request], set()
    for request in requests:
        requests += request.__subclasses__()
        found |= flags_of(request).keys() if request is not Request else set()
    return found - _NOT_ONLY_OPTIONS


def _messages(file: Path) -> Iterator[str]:
    """Yield the texts that are raised, or named `msg`; `{}` stands for what is filled in."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        is_message = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "msg"
        if is_message or isinstance(node, ast.Raise):
            yield from _texts(node)


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    else:
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)


def _named_by_keyword(message: str, keywords: set[str]) -> list[str]:
    """Return the options that a message names as Python does."""
    names = "|".join(sorted(keywords - {"all"}, key=len, reverse=True))
    of_python = "|".join(name for name in keywords if "_" in name)
    asked = re.findall(
        rf"\b(?:give|leave)(?: another)? ({names})(?= as well| out|[;,.]|$)", message
    )
    return asked + re.findall(rf"(?<![\w-])({of_python})(?![\w-])", message)


@pytest.mark.parametrize(
    ("message", "count"),
    [
        ("the files hold different scores ({}); give metric", 1),
        ("lower_is_better: higher {} is better; leave it out", 1),
        ("parts are jobs of an executor; give executor as well", 1),
        ("attention maps show one model; leave attention_maps out, or the ensemble", 2),
        ("the files hold different scores ({}); give --metric", 0),
        ("there is no fold {}: the splits have {}; give folds 0 to 4", 0),
        ("plan with a smaller patch_size", 0),
    ],
)
def test_an_option_that_is_named_as_a_keyword_is_found(message: str, count: int) -> None:
    assert len(_named_by_keyword(message, _keywords())) == count


def test_messages_name_options_as_the_command_line_does() -> None:
    """Commands and functions share their messages; those of functions alone name keywords."""
    keywords, of_python = _keywords(), {"nnunet/building.py", "windows.py"}
    sources = REPOSITORY / "src" / "umamba"
    found = {
        (path.relative_to(sources).as_posix(), message)
        for path in sources.rglob("*.py")
        for message in _messages(path)
        if _named_by_keyword(message, keywords)
    }
    assert {one for one in found if one[0] not in of_python} == set()


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
