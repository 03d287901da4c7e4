"""The gallery shows the right cases and slices, at the right aspect."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from skimage.io import imsave

from report_results import write_comparison
from small_results import finished, results_of, scored
from umamba.comparison.report import gallery_drawing
from umamba.comparison.report.gallery import choose_cases, draw_gallery
from umamba.comparison.report.gallery_views import CaseImages, cut_views, read_case
from umamba.comparison.results import Results, read_results
from umamba.comparison.rows import Training
from umamba.datasets.checks import Case


def dice_of(dice: dict[str, dict[str, float | None]]) -> Results:
    rows = [
        scored(Training(model, 0, 0), case, "a", dice=value)
        for model, of_case in dice.items()
        for case, value in of_case.items()
    ]
    return results_of([finished(Training(model, 0, 0)) for model in dice], rows)


def test_cases_are_chosen_by_their_means_and_spread() -> None:
    one = {"a": 0.9, "b": 0.8, "c": 0.7, "d": 0.2, "e": 0.95}
    other = {"a": 0.9, "b": 0.8, "c": 0.1, "d": 0.2, "e": None}
    chosen = choose_cases(dice_of({"one": one, "other": other}))
    assert chosen == {"a": "best", "c": "median and most disputed", "d": "worst"}
    assert choose_cases(dice_of({"one": {"a": None}})) == {}


def test_one_case_is_everything() -> None:
    assert choose_cases(dice_of({"one": {"a": 0.5}})) == {"a": "best and median and worst"}


@pytest.fixture(scope="module")
def volumes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan that is stored from left to right, front to back and head to foot, and its mask."""
    folder = tmp_path_factory.mktemp("volumes")
    mask = np.zeros((6, 20, 30), np.uint8)  # z, y, x
    mask[1:3, 5:9, 10:12] = 1
    mask[1, 5:15, 10:20] = 1  # the largest slice
    for name, array in (("image", mask * 50.0), ("mask", mask)):
        image = SimpleITK.GetImageFromArray(array)
        image.SetSpacing((0.5, 1.0, 4.0))
        image.SetDirection((-1.0, 0, 0, 0, 1.0, 0, 0, 0, -1.0))
        SimpleITK.WriteImage(image, str(folder / f"{name}.nii.gz"))
    return folder


def test_planes_have_the_aspect_of_the_spacing_and_the_largest_slices(volumes: Path) -> None:
    case = Case("a", (volumes / "image.nii.gz",), volumes / "mask.nii.gz")
    axial, coronal, sagittal = cut_views(read_case(case, {}))
    assert (axial.name, coronal.name, sagittal.name) == ("axial", "coronal", "sagittal")
    assert (axial.aspect, coronal.aspect, sagittal.aspect) == (2.0, 8.0, 4.0)
    assert (axial.pixel, coronal.pixel, sagittal.pixel) == (0.5, 0.5, 1.0)
    assert axial.letters == ("R", "L", "A", "P")
    assert coronal.letters == ("R", "L", "S", "I")
    assert sagittal.letters == ("A", "P", "S", "I")
    assert axial.reference.sum() == 100
    # Stored from head to foot, slices 1 and 2 of 6; the head is up.
    assert np.flatnonzero(coronal.reference.any(axis=1)).tolist() == [1, 2]
    assert np.flatnonzero(sagittal.reference.any(axis=1)).tolist() == [1, 2]
    # Stored with the patient's left first; it is on the right of the picture. The small slice
    # lies at the mask's left end, and at its front.
    margin = 4
    assert axial.reference.shape == (10 + 2 * margin, 10 + 2 * margin)
    assert np.flatnonzero(coronal.reference[1]).tolist() == list(range(margin, margin + 10))
    assert np.flatnonzero(coronal.reference[2]).tolist() == [margin + 8, margin + 9]
    np.testing.assert_array_equal(axial.image > 0.5, axial.reference > 0)


def test_of_a_large_image_the_detail_that_differs_is_shown() -> None:
    reference = np.zeros((900, 1000), np.uint8)
    reference[50:850, 40:960] = 1
    prediction = reference.copy()
    prediction[700:720, 800:820] = 0
    images = CaseImages(reference / 1.0, reference, {"one": prediction}, (1.0, 1.0), oriented=False)
    (view,) = cut_views(images)
    assert view.name == "detail of 1000 \N{MULTIPLICATION SIGN} 900 pixels"
    assert view.reference.shape == (280, 280)
    assert (view.reference != view.predictions["one"]).sum() == 400
    small = CaseImages(reference, reference[:250, :250], {}, (2.0, 1.0), oriented=False)
    (whole,) = cut_views(small)
    assert (whole.name, whole.aspect) == ("", 2.0)


def test_a_prediction_that_is_not_there_is_left_out(volumes: Path) -> None:
    case = Case("a", (volumes / "image.nii.gz",), volumes / "mask.nii.gz")
    there = {"one": volumes / "mask.nii.gz", "other": volumes / "gone.nii.gz"}
    assert [*read_case(case, there).predictions] == ["one"]


def test_colours_stay_and_grey_saved_as_colours_is_stretched(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 60, (9, 7, 3)).astype(np.uint8)
    grey = np.repeat(colours[..., :1], 3, axis=-1)
    imsave(tmp_path / "mask.png", (colours[..., 0] > 30).astype(np.uint8), check_contrast=False)
    for name, array in (("colours", colours), ("grey", grey)):
        imsave(tmp_path / f"{name}.png", array, check_contrast=False)
    images = {
        name: read_case(Case(name, (tmp_path / f"{name}.png",), tmp_path / "mask.png"), {}).image
        for name in ("colours", "grey")
    }
    np.testing.assert_array_equal(images["colours"], colours)
    assert images["grey"].shape == (9, 7)
    assert images["grey"].max() == 1


def test_volumes_have_a_picture_each_with_the_right_aspect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, paths = write_comparison(tmp_path, is_3d=True, n_cases=4)
    results = read_results(output)
    best = next(iter(choose_cases(results)))
    gone = f"*/umamba_bot_s0/fold_*/validation/{best}.nii.gz"
    next((tmp_path / "results").glob(gone)).unlink()
    figures = []
    save = gallery_drawing.save_figure
    monkeypatch.setattr(
        gallery_drawing,
        "save_figure",
        lambda *args, **kw: figures.append(args[0]) or save(*args, **kw),
    )
    gallery = draw_gallery(results, tmp_path / "gallery", paths)
    assert gallery.notes == ()
    assert sorted(gallery.pictures) == sorted(p.name for p in (tmp_path / "gallery").iterdir())
    said: list[str] = []
    for figure in figures:
        assert len(figure.axes) == 3 * (2 + 3)
        seen = [axes for axes in figure.axes if axes.images]
        assert {axes.get_aspect() for axes in seen} == {1.0, 2.5}
        said += [text.get_text() for axes in figure.axes for text in axes.texts]
        titles = [axes.get_title() for axes in figure.axes[:15]]
        assert titles.count("reference") == 1
        assert any(title.startswith("nnunet\nDice 0.") for title in titles)
    assert said.count("axial") == len(figures)
    assert said.count("prediction file\nnot there") == 3
    with Image.open(tmp_path / "gallery" / next(iter(gallery.pictures))) as picture:
        assert picture.width == 1000


def test_the_legend_of_many_labels_has_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mask = np.arange(16, dtype=np.uint8).reshape(4, 4).repeat(9, axis=0).repeat(9, axis=1)
    images = CaseImages(mask / 16, mask, {"nnunet": mask}, (1.0, 1.0), oriented=False)
    block = gallery_drawing.Block("best", "a", cut_views(images), {"nnunet": None}, "seed 0")
    labels = {f"a long name {value}": (value,) for value in range(1, 16)}
    figures = []
    monkeypatch.setattr(gallery_drawing, "save_figure", lambda *args, **_: figures.append(args[0]))
    gallery_drawing.draw_blocks([block], labels, tmp_path / "a.png")
    canvas = FigureCanvasAgg(figures[0])
    canvas.draw()
    (legend,) = figures[0].legends
    box = legend.get_window_extent(canvas.get_renderer())
    assert len(legend.texts) == 16
    assert box.x1 <= figures[0].bbox.x1
    assert box.y1 <= min(axes.bbox.y0 for axes in figures[0].axes)
    assert figures[0].axes[2].get_title() == "nnunet\nDice \N{EN DASH}"


def test_images_that_are_gone_are_named(tmp_path: Path) -> None:
    output, paths = write_comparison(tmp_path, n_cases=4)
    results = read_results(output)
    case = next(iter(choose_cases(results)))
    image = paths.require("raw") / results.dataset.name / "imagesTr" / f"{case}_0000.png"
    image.write_bytes(b"no picture")
    gallery = draw_gallery(results, tmp_path / "gallery", paths)
    assert [note.startswith(case) for note in gallery.notes] == [True]
    assert "cannot be drawn" in gallery.notes[0]
    assert [*gallery.pictures] == ["cases.png"]


def test_pictures_of_others_stay_and_our_older_ones_go(tmp_path: Path) -> None:
    output, paths = write_comparison(tmp_path, n_cases=4)
    folder = tmp_path / "gallery"
    folder.mkdir()
    for name in ("best_and_most_disputed.png", "slide_for_my_talk.png"):
        (folder / name).touch()
    draw_gallery(read_results(output), folder, paths)
    assert {path.name for path in folder.iterdir()} == {"cases.png", "slide_for_my_talk.png"}


def test_scales_are_round_and_at_most_a_third_of_a_picture() -> None:
    lengths = [gallery_drawing.scale_length(width) for width in (30.0, 29.0, 170.0, 2.0, 0.4)]
    assert lengths == pytest.approx([10.0, 5.0, 50.0, 0.5, 0.1])
