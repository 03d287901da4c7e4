"""The study of long ranges: what is finished is kept, and a table and figures show all of it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from umamba.errors import UMambaError
from umamba.reach.gradients import FieldSize
from umamba.reach.long_range import Size, measure_long_range
from umamba.reach.long_range_drawing import draw_long_range
from umamba.reach.long_range_results import LongRangeResult, Trial
from umamba.reach.requests import LongRangeRequest

TINY = {
    2: Size((8, 16), 2, 1, features=(2, 2), batch_size=1, test_pictures=1),
    3: Size((4, 8, 16), 2, 1, features=(2, 2), batch_size=1, test_pictures=1),
}


def request(output: Path, **changes: object) -> LongRangeRequest:
    options = {"models": ("nnunet",), "stages": 2, "seeds": 1, "dims": (2,)} | changes
    return LongRangeRequest(**{"distances": (4, 6), "steps": 1, "output": output} | options)


def written(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / "trainings").iterdir()}


def test_finished_trainings_are_kept(tmp_path: Path) -> None:
    first = measure_long_range(request(tmp_path), TINY)
    before = written(tmp_path)
    assert sorted(before) == ["2d-nnunet-2-seed0.json", "2d-nnunet-2-seed0.npz"]
    more = request(tmp_path, models=("umamba_bot:2", "nnunet"), seeds=2, dims=(2, 3))
    every = measure_long_range(more, TINY)
    assert before.items() <= written(tmp_path).items()
    assert every.trials[1] == first.trials[0]
    titles = [(trial.dim, trial.title, trial.seed) for trial in every.trials]
    names = ["umamba_bot, 2 stages", "nnunet, 2 stages"]
    assert titles == [(dim, name, seed) for dim in (2, 3) for seed in (0, 1) for name in names]
    assert every == measure_long_range(more, TINY)
    assert len(written(tmp_path)) == 2 * len(titles)


def test_a_training_depends_on_its_seed_only(tmp_path: Path) -> None:
    torch.manual_seed(5)
    first = measure_long_range(request(tmp_path / "a"), TINY).trials[0].to_dict()
    torch.manual_seed(6)
    again = measure_long_range(request(tmp_path / "b"), TINY).trials[0].to_dict()
    assert first | {"seconds": 0} == again | {"seconds": 0}


def test_distances_that_do_not_fit_are_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = measure_long_range(request(tmp_path, distances=(5, 99, 4, 7)), TINY)
    told = capsys.readouterr().err
    assert "2D pictures of 8 x 16 voxels leave out distances of more than 6: 7, 99\n" in told
    assert list(result.trials[0].dice) == [4, 5]
    assert result.settings[2]["distances"] == [4, 5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 3}, "nnunet-2-seed0.json was trained with steps 1, not 3; give another"),
        ({"distances": (4,)}, r"was trained with distances \[4, 6\], not \[4\]"),
        ({"models": ("nnunet:4",)}, "4 stages are too many for a patch of .* give at most"),
        ({"models": ("segresnet",)}, "segresnet has stages and widths of its own"),
        ({"distances": (3,)}, "distance 3 does not fit"),
    ],
)
def test_what_does_not_go_together_is_refused(
    changes: dict[str, object], message: str, tmp_path: Path
) -> None:
    measure_long_range(request(tmp_path), TINY)
    before = written(tmp_path)
    with pytest.raises(UMambaError, match=message):
        measure_long_range(request(tmp_path, **changes), TINY)
    assert written(tmp_path) == before


@pytest.mark.parametrize("ending", ["json", "npz"])
def test_a_damaged_training_is_named(ending: str, tmp_path: Path) -> None:
    measure_long_range(request(tmp_path), TINY)
    file = tmp_path / "trainings" / f"2d-nnunet-2-seed0.{ending}"
    settings = json.loads(file.with_suffix(".json").read_text())["settings"]
    file.write_text(json.dumps({"settings": settings}))
    with pytest.raises(UMambaError, match=r"2d-nnunet-2-seed0.json or .*npz is damaged"):
        measure_long_range(request(tmp_path), TINY)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"models": ("nnunet:x",)}, "'nnunet:x' does not end in a number of stages"),
        ({"models": ("nnunet:1",)}, "'nnunet:1' does not end in a number of stages"),
        ({"models": ("nnnet",)}, "model 'nnnet' does not exist; did you mean nnunet"),
        ({"dims": (2, 4)}, r"\[2, 4\] are not numbers of image axes"),
        ({"seeds": 0}, "0 is not a positive number"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UMambaError, match=message):
        LongRangeRequest(**options)


def known_trial(model: str, seed: int, dice: tuple[float, ...]) -> Trial:
    sizes = {share: FieldSize(float(share), (share, share)) for share in (50, 90, 99)}
    values = dict(zip((8, 16, 32), dice, strict=True))
    control = dict.fromkeys(values, (0.9, 0.95)[seed])
    shares = np.random.default_rng(seed).random((8, 16))
    maps = (shares, np.ones((8, 16)))
    return Trial(model, 3, 2, seed, 10, 0.1, 2.0, values, control, sizes, sizes, maps)


def known_result() -> LongRangeResult:
    trials = (
        known_trial("nnunet", 0, (0.9, 0.8, 0.4)),
        known_trial("umamba_bot", 0, (0.9, 0.9, 0.9)),
        known_trial("nnunet", 1, (0.9, 0.6, 0.9)),
        known_trial("umamba_bot", 1, (0.9, 0.9, 0.8)),
    )
    settings = {"shape": [32, 128], "distances": [8, 16, 32], "lanes": 4, "radius": 2}
    return LongRangeResult(trials, {2: settings})


def test_the_table_tells_means_and_the_reach_of_the_worst_seed() -> None:
    lines = known_result().to_markdown().splitlines()
    assert lines[0].startswith("2D, pictures of 32 x 128 voxels: Dice of objects")
    assert lines[0].endswith("(mean of 2 seeds):")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[4:6]]
    assert cells[0] == ["nnunet, 3 stages", "0.90", "0.70", "0.65", "8", "0.93", "50.0", "50.0"]
    assert cells[1][:5] == ["umamba_bot, 3 stages", "0.90", "0.90", "0.85", "32"]


def test_a_network_that_sees_nothing_has_no_reach() -> None:
    assert known_trial("nnunet", 0, (0.7, 0.9, 0.9)).reach == 0


def test_it_is_for_2d_unless_3d_is_asked_for() -> None:
    assert LongRangeRequest().dims == (2,)


def test_json_gives_the_same_result() -> None:
    known = known_result()
    assert LongRangeResult.from_dict(json.loads(json.dumps(known.to_dict()))) == known


def test_figures_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files = draw_long_range(known_result(), tmp_path / name)
        assert [file.name for file in files] == [
            "long-range.png",
            "long-range.svg",
            "long-range-maps.png",
        ]
    for file in files:
        assert file.read_bytes() == (tmp_path / "a" / file.name).read_bytes()
    drawn = (tmp_path / "a" / "long-range.svg").read_text()
    for text in ("umamba_bot, 3 stages", "0.85", "control", "2D: voxels from object to markers"):
        assert f"<!-- {text} -->" in drawn
    frames = np.asarray(Image.open(tmp_path / "a" / "long-range.png").convert("RGB")).astype(int)
    assert (np.abs(frames - (0xE6, 0x9F, 0x00)).max(axis=-1) < 12).sum() > 500  # of what is seen
