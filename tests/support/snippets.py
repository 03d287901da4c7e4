"""The shell snippets of the pages, their commands, and what differs where a test runs them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path

from reference_cases import REPOSITORY

__all__ = ["TUTORIALS", "Snippet", "commands_of", "pages", "prose_of", "snippets_of"]

# In the order in which a reader goes through them: each begins where the one before has ended.
TUTORIALS = tuple(
    REPOSITORY / "docs" / "tutorials" / f"{name}.md"
    for name in ("first-segmentation", "from-images-to-a-model", "compare-models")
)

_BLOCK = re.compile(
    r"(?:<!-- (?P<note>[^>]*?) -->\n)?```(?P<kind>\w*)[^\n]*\n(?P<text>.*?)```", re.DOTALL
)
_IS = re.compile(r"`([^`]+)` is `([^`]*)`")
_ASSIGNMENT = re.compile(r"[A-Za-z_]+=")
_FUNCTION = re.compile(r'^(\w+)\(\) \{ (.*?) "\$@"; \}$', re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    """A block of shell commands.

    A comment before it, which readers do not see, says what is different in the test:
    `<!-- in the test: `--epochs 100` is `--epochs 1` -->` or `<!-- not in the test: REASON -->`.
    """

    page: Path
    text: str
    note: str

    @property
    def as_tested(self) -> str:
        """The commands, with a small budget in place of a realistic one."""
        if self.note.startswith("not in the test: "):
            return ""
        text = self.text
        for shown, tested in _IS.findall(self.note):
            assert shown in text, f"{self.page.name}: {shown} is not in the block of its comment"
            text = text.replace(shown, tested)
        return text


def pages() -> list[Path]:
    """All that is written for users and contributors, in Markdown."""
    own = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")]
    return own + sorted((REPOSITORY / "docs").rglob("*.md"))


def snippets_of(page: Path) -> list[Snippet]:
    blocks = _BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Snippet(page, b["text"], b["note"] or "") for b in blocks if b["kind"] == "bash"]


def prose_of(page: Path) -> str:
    """A page without its blocks of code."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def commands_of(text: str) -> Iterator[list[str]]:
    """The simple commands of a script as words, with functions of one line put in their places."""
    for name, body in _FUNCTION.findall(text):
        text = _FUNCTION.sub("", text, count=1)
        text = re.sub(rf"^{name}\b", lambda _, body=body: body, text, flags=re.MULTILINE)
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=";&|")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set(";&|"):
                words = list(dropwhile(_ASSIGNMENT.match, words))
                if words:
                    yield words
                words = []
            else:
                words.append(word)
