"""Models are exported, installed elsewhere, and predict what they predicted before."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from toy import NAME, read_json, voxels, write_toy_images
from toy_model import MODEL, toy_plans, write_toy_model
from umamba.cli.main import main
from umamba.errors import UMambaError
from umamba.nnunet.sharing.installation import opened_model
from umamba.nnunet.sharing.weight_files import read_weights, write_weights

pytestmark = pytest.mark.nnunet


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("sharing") / "results"
    torch.manual_seed(1)
    write_toy_model(results)
    return results


def export(results: Path, output: Path, *more: str) -> int:
    command = ["export", "901", "3d_fullres", "--model", "umamba_bot", "-o", str(output)]
    return main([*command, "--results", str(results), *more])


@pytest.fixture(scope="module")
def exported(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("exported") / "model"
    assert export(results, output) == 0
    return output


def predicted(model: Path, images: Path, output: Path) -> list[np.ndarray]:
    command = ["predict", "-m", str(model), "-i", str(images), "-o", str(output)]
    assert main([*command, "--disable_tta", "-device", "cpu"]) == 0
    return [voxels(path) for path in sorted(output.glob("*.nii.gz"))]


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_fold_that_is_being_trained_or_validated_is_not_exported(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fold = results / NAME / MODEL / "fold_1"
    code = """
import sys
from pathlib import Path
from umamba.system.run_lock import only_process
with only_process(Path(sys.argv[1])):
    print("holds", flush=True)
    sys.stdin.read()
"""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(fold)], **pipes) as other:
        assert other.stdout.readline()
        assert export(results, tmp_path / "all") == 2
        said = capsys.readouterr().err
        assert f"another process is at work in {fold}: process {other.pid} on" in said
        assert "export other folds with -f" in said
        assert export(results, tmp_path / "one", "-f", "0") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["one"]


def test_what_is_exported_names_no_case_and_no_path(exported: Path) -> None:
    weights = [f"fold_{fold}/weights.safetensors" for fold in (0, 1)]
    described = ["README.md", "dataset.json", *weights, "manifest.json", "plans.json"]
    assert files(exported) == described
    texts = [path.read_text() for path in exported.iterdir() if path.is_file()]
    for secret in ("secret_case", "/home", "continue_training", "optimizer"):
        assert not any(secret in text for text in texts)
    card = (exported / "README.md").read_text()
    assert "| 0 | 1 | 0.7500 | 0.7500 | not in any case |" in re.sub(" +", " ", card)
    assert card.rstrip().endswith("CC BY 4.0")
    manifest = read_json(exported / "manifest.json")
    assert manifest["schema_version"] == 1
    assert set(manifest["files"]) == {*weights, "dataset.json", "plans.json"}
    assert manifest["metrics"]["0"]["dice"] == {"1": 0.75, "2": None}


def test_folder_and_zip_predict_what_the_model_predicted(
    results: Path,
    exported: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    write_toy_images(tmp_path, n_cases=1)
    images = tmp_path / "images"
    want = predicted(results / NAME / MODEL, images, tmp_path / "want")
    assert len(np.unique(want[0])) > 1
    archive, elsewhere = tmp_path / "model.zip", tmp_path / "elsewhere"
    assert export(results, archive) == 0
    assert main(["install", str(archive), "--results", str(elsewhere)]) == 0
    assert f" --results {elsewhere} -i IMAGES" in capsys.readouterr().out
    installed = elsewhere / NAME / MODEL
    assert [p.name for p in elsewhere.iterdir()] == [NAME]
    assert "README.md" in files(installed)
    for name, model in (("installed", installed), ("zip", archive), ("folder", exported)):
        assert np.array_equal(predicted(model, images, tmp_path / name)[0], want[0]), name
    monkeypatch.delenv("nnUNet_extTrainer", raising=False)
    stock = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    stock.initialize_from_trained_model_folder(str(installed), None)
    (images / "case_0.nii.gz").rename(images / "case_0_0000.nii.gz")
    (tmp_path / "stock").mkdir()
    stock.predict_from_files_sequential(str(images), str(tmp_path / "stock"))
    assert np.array_equal(voxels(tmp_path / "stock" / "case_0.nii.gz"), want[0])


def test_a_manifest_of_an_earlier_version_installs(exported: Path, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(exported, old)
    manifest = read_json(old / "manifest.json")
    for record in manifest["folds"].values():
        for key in ("iterations", "training_cases", "validation_cases"):
            del record[key]
    (old / "manifest.json").write_text(json.dumps(manifest))
    assert main(["install", str(old), "--results", str(tmp_path / "results")]) == 0


def test_a_stock_zip_installs_without_what_would_be_unpickled(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    import nnunetv2.model_sharing.model_export as stock

    monkeypatch.setenv("nnUNet_results", str(results))
    monkeypatch.setenv("nnUNet_raw", str(results))
    monkeypatch.setenv("nnUNet_preprocessed", str(results))
    archive, elsewhere = tmp_path / "stock.zip", tmp_path / "elsewhere"
    trainer, plans, configuration = MODEL.split("__")
    stock.export_pretrained_model(NAME, str(archive), (configuration,), trainer, plans, (0,))
    with zipfile.ZipFile(archive, "a") as zipped:
        zipped.writestr(f"{NAME}/{MODEL}/crossval/postprocessing.pkl", b"anything")
    assert main(["install", str(archive), "--results", str(elsewhere), "--json"]) == 0
    captured = capsys.readouterr()
    installed = elsewhere / NAME / MODEL
    assert json.loads(captured.out[captured.out.index("{") :]) == {"folders": [str(installed)]}
    assert "1 files that prediction does not need are left out" in captured.err
    assert not list(elsewhere.rglob("*.pkl"))
    name = "fold_0/checkpoint_final.pth"
    mine, theirs = (
        torch.load(folder / name, weights_only=True)["network_weights"]
        for folder in (installed, results / NAME / MODEL)
    )
    assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_nothing_is_overwritten(
    results: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {p: p.stat().st_mtime_ns for p in (*results.rglob("*"), *exported.rglob("*"))}
    assert export(results, exported) == 2
    assert f"{exported} exists already; nothing is overwritten" in capsys.readouterr().err
    assert main(["install", str(exported), "--results", str(results)]) == 2
    assert f"{MODEL} exists already; nothing is overwritten" in capsys.readouterr().err
    after = {p: p.stat().st_mtime_ns for p in (*results.rglob("*"), *exported.rglob("*"))}
    assert {p: t for p, t in after.items() if p.is_file()} == {
        p: t for p, t in before.items() if p.is_file()
    }
    assert set(after) == set(before)


def begin(command: list[str], said: Path) -> int:
    """Run a command in a process of its own, whose messages go to a file; return its number."""
    child = os.fork()
    if child == 0:
        code = -1
        try:
            with said.open("w") as talk, contextlib.redirect_stderr(talk):
                code = main(command)
        finally:
            os._exit(code)
    return child


@pytest.mark.parametrize("kind", ["folder", "zip", "install"])
def test_of_two_at_once_one_is_refused_and_the_other_whole(
    results: Path, exported: Path, tmp_path: Path, kind: str
) -> None:
    target = tmp_path / ("model.zip" if kind == "zip" else "model")
    command = ["export", "901", "3d_fullres", "--model", "umamba_bot", "-o", str(target)]
    command += ["--results", str(results)]
    if kind == "install":
        target = tmp_path / "results" / NAME / MODEL
        command = ["install", str(exported), "--results", str(tmp_path / "results")]
    talk = [tmp_path / "one", tmp_path / "other"]
    both = [begin(command, path) for path in talk]
    codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in both]
    said = [path.read_text() for path in talk]
    assert sorted(codes) == [0, 2], said
    refusal = said[codes.index(2)]
    assert str(target) in refusal
    assert "is being made by" in refusal or "exists already" in refusal
    alone = tmp_path / f"alone{target.suffix}"
    if kind == "install":
        assert main(["install", str(exported), "--results", str(alone)]) == 0
        alone = alone / NAME / MODEL
        assert files(target) == files(alone)
    else:
        assert export(results, alone) == 0
        made, wanted = ([p, *sorted(p.rglob("*"))] for p in (target, alone))
        assert [p.read_bytes() for p in made if p.is_file()] == [
            p.read_bytes() for p in wanted if p.is_file()
        ]
    assert [path.name for path in target.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("901", "3d_lowres"), "does not exist; train first"),
        (("902", "3d_fullres"), "data set '902' was not found"),
        (("901", "3d_fullres", "-f", "4"), "fold '4' does not exist"),
        (("901", "3d_fullres", "-chk", "other.pth"), "no fold with a other.pth"),
        (("901", "3d_fullres", "--hub-card"), "the hub's card needs the Dice of a validation"),
    ],
)
def test_what_cannot_be_exported_is_named_and_nothing_is_left(
    changes: tuple[str, ...],
    message: str,
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("raw", "preprocessed"):  # our commands leave them set, as nnU-Net wants them
        monkeypatch.delenv(f"nnUNet_{name}", raising=False)
    command = ["export", *changes, "--model", "umamba_bot", "-o", str(tmp_path / "out.zip")]
    assert main([*command, "--results", str(results)]) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unknown_entries_at_any_depth_stay_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_toy_model(tmp_path / "results", ("0",))
    plans, dataset_json = (read_json(model / f"{name}.json") for name in ("plans", "dataset"))
    configuration = plans["configurations"]["3d_fullres"]
    for part in (
        plans,
        configuration,
        configuration["resampling_fn_data_kwargs"],
        configuration["architecture"],
        configuration["architecture"]["arch_kwargs"],
        configuration["architecture"]["arch_kwargs"]["norm_op_kwargs"],
        plans["foreground_intensity_properties_per_channel"]["0"],
        dataset_json,
    ):
        part["/home/anna_9"] = 1
        part["anna_9"] = "anna_9"
    dataset_json["description"] = "CT of the liver, in file:///home/anna_9"
    dataset_json["reference"] = "with secret_case, from https://example.org/liver"
    (model / "plans.json").write_text(json.dumps(plans))
    (model / "dataset.json").write_text(json.dumps(dataset_json))
    out = tmp_path / "out"
    assert export(tmp_path / "results", out) == 0
    said = capsys.readouterr().err
    assert "of dataset.json not exported: " in said
    assert "'description (it names a file, a folder or a case)', 'reference (it names" in said
    texts = [path.read_bytes() for path in out.rglob("*") if path.is_file()]
    assert not [text for text in texts if b"anna_9" in text or b"secret_case" in text]
    shared = read_json(out / "plans.json")["configurations"]["3d_fullres"]
    for name, value in toy_plans()["configurations"]["3d_fullres"].items():
        assert shared[name] == value, name


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("dataset", {"channel_names": {"0": "/mnt/ct"}}, "channel_names.0 is '/mnt/ct', which is"),
        ("dataset", {"labels": {"background": 0, "C:\\a": 1}}, "a name in labels is 'C:"),
        ("plans", {"foreground_intensity_properties_per_channel": {"x": {}}}, "a channel in"),
    ],
)
def test_what_a_model_needs_and_is_private_is_refused(
    file: str,
    change: dict[str, Any],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = write_toy_model(tmp_path / "results", ("0",))
    content = read_json(model / f"{file}.json")
    (model / f"{file}.json").write_text(json.dumps(content | change))
    assert export(tmp_path / "results", tmp_path / "out") == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_the_same_model_gives_the_same_bytes_that_all_may_read(
    results: Path, exported: Path, tmp_path: Path
) -> None:
    """In another process, in which Python and safetensors order what has no order differently."""
    program = "import sys; from umamba.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = ["export", "901", "3d_fullres", "--model", "umamba_bot", "--results", str(results)]
    archives = [tmp_path / "a.zip", tmp_path / "b.zip"]
    assert export(results, archives[0]) == 0
    assert export(results, tmp_path / "folder") == 0
    subprocess.run(
        [sys.executable, "-c", program, *command, "-o", str(archives[1])],
        check=True,
        umask=0o027,
        env={**os.environ, "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"},
    )
    assert archives[0].read_bytes() == archives[1].read_bytes()
    assert archives[1].stat().st_mode & 0o777 == 0o640
    for name in files(exported):
        assert (exported / name).read_bytes() == (tmp_path / "folder" / name).read_bytes()
        assert (exported / name).stat().st_mode & 0o777 == 0o644
    with zipfile.ZipFile(archives[0]) as zipped:
        entries = zipped.infolist()
    assert {entry.date_time for entry in entries} == {(1980, 1, 1, 0, 0, 0)}
    assert {entry.external_attr >> 16 for entry in entries} == {0o100644}
    assert [entry.filename for entry in entries][:2] == ["README.md", "manifest.json"]


def test_weights_under_several_names_are_written_once(tmp_path: Path) -> None:
    weight = torch.arange(1000.0)
    weights = {
        "a": weight,
        "b.a": weight,
        "part": weight[10:20],
        "flipped": weight.reshape(10, 100).T,
        "half": torch.tensor(0.5, dtype=torch.bfloat16),
    }
    path = tmp_path / "w.safetensors"
    write_weights(weights, path, tmp_path)
    assert set(load_file(path)) == {"a", "part", "flipped", "half"}
    read = read_weights(path, "w")
    assert set(read) == set(weights)
    assert all(torch.equal(read[key], weights[key]) for key in weights)


def test_what_systems_hide_in_folders_and_zips_stays_out(exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "seen in a file manager"
    shutil.copytree(exported, folder)
    for name in (".DS_Store", "._plans.json", "fold_0/Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"?")
    archive = tmp_path / "packed by macOS.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            packed.write(path, f"model/{path.relative_to(folder).as_posix()}")
        packed.writestr("__MACOSX/model/._plans.json", b"?")
    for source in (folder, archive):
        results = tmp_path / f"results of {source.name}"
        assert main(["install", str(source), "--results", str(results)]) == 0
        hidden = (".DS_Store", "._plans.json", "Thumbs.db", "desktop.ini", "__MACOSX")
        assert not [path for path in results.rglob("*") if path.name in hidden]


def test_an_error_about_an_unpacked_model_names_the_file_whatever_its_arguments(
    exported: Path,
) -> None:
    class TwoPartError(UMambaError):
        def __init__(self, folder: Path, problem: str) -> None:
            super().__init__(f"{folder} {problem}")

    def use_it() -> None:
        with opened_model(exported) as folder:
            assert folder != exported
            raise TwoPartError(folder, "is too large")

    with pytest.raises(TwoPartError, match=rf"^{re.escape(str(exported))} is too large$"):
        use_it()
