"""What comes from files reaches the terminal as text only."""

import io
import json
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_factory import write_image, write_model
from umamba.cli.main import main
from umamba.system.terminal import filtered_streams, one_line, write_control

CLEARS = "\x1b[2J\x1b[Hall cases predicted"
ODD = ["\x1b[2J", "\x9b2J", "\r", "\x07", "\x7f", "\u202e", "\u2066", "\u200d", "\u2028", "\ud800"]


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def is_shown(text: str, keep: str = "\n\t") -> bool:
    return all(c in keep or unicodedata.category(c)[0] not in "C" for c in text) and not any(
        unicodedata.category(c) in ("Zl", "Zp") for c in text
    )


@given(text=st.text(st.characters(), max_size=40), odd=st.sampled_from(ODD))
def test_nothing_but_text_passes(text: str, odd: str) -> None:
    terminal = Terminal()
    before, sys.stderr = sys.stderr, terminal
    try:
        with filtered_streams():
            sys.stderr.write(text + odd)
            sys.stderr.writelines([odd, text])
    finally:
        sys.stderr = before
    assert is_shown(terminal.getvalue())
    assert is_shown(one_line(text + odd), "")
    terminal.getvalue().encode("utf-8")


@given(text=st.text(st.characters(exclude_categories=["C", "Zl", "Zp"])))
def test_text_in_any_language_passes_as_it_is(text: str) -> None:
    assert one_line(text) == text


def test_what_an_encoding_lacks_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii", write_through=True))
    with filtered_streams():
        sys.stdout.write("Größe \ud83d 1\n")
    assert raw.getvalue() == b"Gr\\xf6\\xdfe \\ud83d 1\n"


def test_bars_still_move_the_cursor_of_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from tqdm import tqdm

    def drawn(stream: io.StringIO) -> str:
        monkeypatch.setattr(sys, "stderr", stream)
        with filtered_streams(), tqdm(total=2, mininterval=0) as outer:
            with tqdm(total=2, mininterval=0, desc="a\x1b[2J") as inner:
                inner.update()
            outer.update()
        return stream.getvalue()

    on_terminal = drawn(Terminal())
    assert "\r" in on_terminal
    assert "\x1b[A" in on_terminal
    assert "\x1b[2J" not in on_terminal
    assert "\r" not in drawn(io.StringIO())
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with filtered_streams():
        sys.stderr.write("\r\x1b[A")  # nothing is shown that could be moved
        write_control("\x1b[1A\x1b[0J")  # our own table
    assert terminal.getvalue() == "\\r\\x1b[A\x1b[1A\x1b[0J"


@pytest.mark.parametrize("place", ["channel", "label", "plans", "trainer", "weight", "case"])
def test_names_in_models_and_files_forge_nothing(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever name is odd, there is one error, or a case, and no line that looks like ours."""
    import torch

    name = f"{CLEARS}\n3 predicted, 0 left out\u202e"
    model = write_model(tmp_path / "model")
    write_image(tmp_path / "in" / f"case{name if place == 'case' else ''}_0000.nii.gz")
    description, plans = (model / file for file in ("dataset.json", "plans.json"))
    content = json.loads(description.read_text())
    if place == "channel":
        description.write_text(json.dumps(content | {"channel_names": {"0": name}}))
    elif place == "label":
        labels = {"background": 0, name: 1, "small": 2}
        description.write_text(json.dumps(content | {"labels": labels}))
    elif place == "plans":
        plans.write_text(json.dumps(json.loads(plans.read_text()) | {"plans_name": name}))
    elif place in ("trainer", "weight"):
        checkpoint = model / "fold_0" / "checkpoint_final.pth"
        saved = torch.load(checkpoint, weights_only=True)
        if place == "trainer":
            saved["trainer_name"] = name
        else:
            saved["network_weights"][name] = torch.zeros(1)
        torch.save(saved, checkpoint)
    command = ["predict", "-m", str(model), "-i", str(tmp_path / "in"), "-o", str(tmp_path / "out")]
    code = main([*command, "-device", "cpu", "--disable_tta"])
    assert code == (0 if place == "case" else 2)
    out, err = capsys.readouterr()
    assert is_shown(out + err)
    assert not any(line.startswith("3 predicted") for line in (out + err).splitlines())


def test_odd_arguments_are_repeated_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["plan", "4", CLEARS], ["predict", f"--{CLEARS}\nok"], [CLEARS]):
        with pytest.raises(SystemExit):
            main(arguments)
        error = capsys.readouterr().err
        assert is_shown(error)
        assert all(line.startswith(("umamba", "see umamba")) for line in error.splitlines())
