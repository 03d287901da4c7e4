"""The pages lead to each other, and what they tell users to type is what the commands take."""

import argparse
import re
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

from reference_cases import REPOSITORY
from snippets import commands_of, pages, prose_of, snippets_of
from umamba.cli.commands_page import commands_as_markdown
from umamba.cli.failures import EXIT_BROKEN_PIPE
from umamba.cli.main import build_parser
from umamba.errors import ResumableInterruptError, SupersededError, UMambaError
from umamba.runtime.__main__ import build_parser as build_runtime_parser
from umamba.system.interruption import EXIT_INTERRUPTED

DOCS = REPOSITORY / "docs"
SOURCES = REPOSITORY / "src" / "umamba"
# Programs of others that snippets may call, besides those of nnU-Net.
OTHERS = {".", "cd", "cp", "curl", "export", "mkdir", "mv", "tar", "test"}
OTHERS |= {"lint-imports", "mypy", "pip", "pytest", "ruff", "zensical"}
# Options of others that pages mention.
FOREIGN = {"--gpus", "--gres", "--no-deps", "--nv"}


def test_every_page_is_in_the_navigation() -> None:
    navigation = (REPOSITORY / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    written = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    assert set(re.findall(r": (\S+\.md)$", navigation, re.MULTILINE)) == written


commands = cache(build_parser)


def slug(heading: str) -> str:
    """A heading as the site names its anchor."""
    plain = re.sub(r"[^\w\s-]", "", re.sub(r"[`*]", "", heading).lower()).strip()
    return re.sub(r"[-\s]+", "-", plain)


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", prose_of(page)):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if DOCS in page.parents:
            assert DOCS in file.resolve().parents, f"{target} is not on the site"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", prose_of(file), re.MULTILINE)
            assert anchor in map(slug, headings), target


def test_scripts_are_taken_apart_as_a_shell_does() -> None:
    script = """go() { umamba plan 4 --from 'a b' "$@"; }
pip install . && A=1 umamba doctor; umamba models \\
    4 | head   # not --this
go --model umamba_bot
"""
    assert list(commands_of(script)) == [
        ["pip", "install", "."],
        ["umamba", "doctor"],
        ["umamba", "models", "4"],
        ["head"],
        ["umamba", "plan", "4", "--from", "a b", "--model", "umamba_bot"],
    ]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_commands_of_snippets_are_understood(
    page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [text for s in snippets_of(page) for text in (s.text, s.as_tested)]
    for program, *arguments in chain.from_iterable(map(commands_of, texts)):
        if program == "umamba":
            try:
                commands().parse_args(arguments)
            except SystemExit as stopped:
                assert stopped.code == 0, (arguments, capsys.readouterr().err)  # noqa: PT017
        elif program in ("python", "python3"):
            assert is_module(arguments), arguments
        else:
            assert program in OTHERS or program.startswith("nnUNetv2_"), program


def is_module(arguments: list[str]) -> bool:
    """Whether `python` is called with `-m` and a module of ours, or one of Python's own."""
    option, name, *_ = arguments
    path = Path(*name.split("."))
    found = [REPOSITORY / "src" / path, REPOSITORY / path, REPOSITORY / "tests" / path]
    return option == "-m" and (
        name == "venv" or any(p.is_dir() or p.with_suffix(".py").is_file() for p in found)
    )


def test_extras_that_pages_install_exist() -> None:
    project = (REPOSITORY / "pyproject.toml").read_text().partition("optional-dependencies]\n")[2]
    extras = set(re.findall(r"^(\w+) = \[", project.partition("\n[")[0], re.MULTILINE))
    install = re.compile(r"'(?:umamba|\.)\[(\w+)\]'")
    named = {name for page in pages() for name in install.findall(page.read_text())}
    assert {"demo", "test", "dicom"} <= named <= extras


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """The spellings of all options of a parser and of its commands."""
    found: set[str] = set()
    for action in parser._actions:
        found |= {*action.option_strings}
        if isinstance(action, argparse._SubParsersAction):
            found = found.union(*map(options_of, action.choices.values()))
    return found


@pytest.mark.parametrize(
    "page", sorted({*DOCS.rglob("*.md"), REPOSITORY / "README.md"}), ids=lambda page: page.stem
)
def test_options_in_the_text_exist(page: Path) -> None:
    spans = " ".join(re.findall(r"`([^`\n]+)`", prose_of(page)))
    named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*(?!\.\.)\b", spans))
    assert named <= options_of(commands()) | options_of(build_runtime_parser()) | FOREIGN


def test_the_page_of_commands_is_current() -> None:
    page = (DOCS / "reference" / "commands.md").read_text(encoding="utf-8")
    assert page == commands_as_markdown(), (
        "run python -m umamba.cli.commands_page > docs/reference/commands.md"
    )


@cache
def code() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in SOURCES.rglob("*.py"))


def test_the_page_of_variables_names_all_that_the_code_reads() -> None:
    page = (DOCS / "reference" / "environment.md").read_text(encoding="utf-8")
    prefix = "UMAMBA|nnUNet|SLURM|CUDA|OMP|GLOO|XDG|RAY|TORCH|TRITON"
    known = rf"\b(?:(?:{prefix})_[A-Za-z_]*[A-Za-z]|LOCALAPPDATA)\b"
    read = set(re.findall(known, code()))
    assert {"nnUNet_raw", "UMAMBA_SCAN_BACKEND", "SLURM_JOB_ID", "XDG_CACHE_HOME"} <= read
    assert {name for name in read if f"`{name}`" not in page} == set()
    listed = set(re.findall(known, page))
    assert listed <= read


def test_the_page_of_exit_codes_has_all_of_them() -> None:
    page = (DOCS / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    ours = {error.EXIT_CODE for error in (UMambaError, ResumableInterruptError, SupersededError)}
    for error in UMambaError.__subclasses__():
        ours.add(error.EXIT_CODE)
    ours |= {0, 1, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE}
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == ours


# Names of files that look like ours and are none that a user finds.
NOT_WRITTEN = {"ai.onnx", "torch.onnx", "data.pkl", "direct_url.json", "image.json", "fold_0.onnx"}


def test_the_pages_of_files_name_all_that_the_code_writes() -> None:
    places = ("reference/files", "reference/comparison-results", "how-to/rank")
    text = "".join((DOCS / f"{place}.md").read_text(encoding="utf-8") for place in places)
    ending = "json|csv|pth|log|html|md|safetensors|onnx|pt2|pkl|sh|svg"
    names = set(re.findall(rf'"([a-z]\w*\.(?:{ending}))"', code()))
    assert {"checkpoint_final.pth", "umamba_prediction.json", "results.json"} <= names
    assert {name for name in names - NOT_WRITTEN if f"{name}`" not in text} == set()
