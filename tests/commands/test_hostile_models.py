"""Hostile models: each is refused with one clear error, runs nothing and leaves nothing."""

import hashlib
import json
import os
import pickle
import shutil
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from plans_factory import DATASET_JSON, stock_plans
from toy import NAME, read_json
from toy_model import MODEL, toy_plans, write_toy_model
from umamba.cli.main import main
from umamba.errors import CheckpointError, PlansError, UMambaError
from umamba.nnunet.checkpoints.files import only_safe_loading
from umamba.nnunet.training.folds import our_trainers
from umamba.nnunet.trust import check_dataset_json, check_plans, check_trainer
from umamba.system.archives import list_members
from umamba.system.checksums import sha256

FILE = Path("plans.json")
CONFIGURATION = ("configurations", "3d_fullres")
NETWORK = (*CONFIGURATION, "architecture")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    write_toy_model(root / "results", ("0",))
    command = ["export", "901", "3d_fullres", "--model", "umamba_bot", "-o", str(root / "model")]
    assert main([*command, "--results", str(root / "results")]) == 0
    return root / "model"


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that hostile code would make: by being called, or by being imported."""
    path = tmp_path / "canary"
    (tmp_path / "modules").mkdir()
    source = f"import pathlib\npathlib.Path({str(path)!r}).touch()\nclass PlainConvUNet: pass\n"
    (tmp_path / "modules" / "hostile_module.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    yield path
    assert not path.exists()


class Payload:
    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduced


def payloads(canary: Path) -> dict[str, Any]:
    system = Payload(os.system, f"touch {canary}")
    return {
        "os.system": system,
        "eval": Payload(eval, f"open({str(canary)!r}, 'w')"),
        "nested": {"a": [{"b": (1, system)}]},
        "getattr": Payload(getattr, Path, "touch"),
        "import": Payload(__import__, "hostile_module"),
        "torch.load": Payload(torch.load, "x"),
    }


def put(content: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    entry: Any = content
    for key in place[:-1]:
        entry = entry[key]
    entry[place[-1]] = value
    return content


HOSTILE_ENTRIES = {
    "class": ((*NETWORK, "network_class_name"), "hostile_module.PlainConvUNet"),
    "class without package": ((*NETWORK, "network_class_name"), "hostile_module"),
    "class of another kind": ((*NETWORK, "network_class_name"), "torch.nn.Linear"),
    "network that is no string": ((*NETWORK, "network_class_name"), ["os.system"]),
    "nonlin": ((*NETWORK, "arch_kwargs", "nonlin"), "os.system"),
    "conv_op": ((*NETWORK, "arch_kwargs", "conv_op"), "hostile_module.PlainConvUNet"),
    "norm_op": ((*NETWORK, "arch_kwargs", "norm_op"), "torch.load"),
    "dropout_op": ((*NETWORK, "arch_kwargs", "dropout_op"), "torch.nn.modules.module.warnings"),
    "preprocessor": ((*CONFIGURATION, "preprocessor_name"), "subprocess"),
    "normalisation": ((*CONFIGURATION, "normalization_schemes"), ["ABC"]),
    "normalisation not in a list": ((*CONFIGURATION, "normalization_schemes"), "os"),
    "resampling": ((*CONFIGURATION, "resampling_fn_data"), "recursive_find_python_class"),
    "resampling of labels": ((*CONFIGURATION, "resampling_fn_seg"), "np"),
    "resampling of output": ((*CONFIGURATION, "resampling_fn_probabilities"), "system"),
    "reader": (("image_reader_writer",), "os"),
    "labels": (("label_manager",), "LabelManager.__init__"),
    "planner": (("experiment_planner_used",), "hostile_module"),
}


@pytest.mark.parametrize("name", HOSTILE_ENTRIES)
def test_what_plans_have_imported_is_known_first(name: str, canary: Path) -> None:
    place, value = HOSTILE_ENTRIES[name]
    plans = put(stock_plans(), place, value)
    shown = ".".join(place).replace(".", r"\.")
    with pytest.raises(PlansError, match=rf"plans\.json: {shown}.* names .* add --trust-plans"):
        check_plans(plans, FILE)
    check_plans(plans, FILE, trusted=True)  # imports nothing by itself


def test_every_keyword_listed_for_import_is_checked(canary: Path) -> None:
    plans = put(stock_plans(), (*NETWORK, "arch_kwargs", "block"), "hostile_module.PlainConvUNet")
    plans[NETWORK[0]][NETWORK[1]][NETWORK[2]]["_kw_requires_import"].append("block")
    with pytest.raises(PlansError, match=r"arch_kwargs\.block names 'hostile_module"):
        check_plans(plans, FILE)
    with pytest.raises(PlansError, match="lists 'missing', which arch_kwargs lack"):
        check_plans(put(stock_plans(), (*NETWORK, "_kw_requires_import"), ["missing"]), FILE)
    for malformed in ({}, [], "text", {"arch_kwargs": {}}):
        with pytest.raises(PlansError, match="needs `network_class_name`"):
            check_plans(put(stock_plans(), NETWORK, malformed), FILE)


@pytest.mark.parametrize(
    "place",
    [("dataset_name",), ("plans_name",), (*CONFIGURATION, "data_identifier")],
    ids=lambda place: place[-1],
)
@pytest.mark.parametrize("name", ["../../x", "/etc", "..", "a\\b", "", "a\nb", 3])
def test_names_that_lead_out_of_a_folder_are_refused_even_if_trusted(
    place: tuple[str, ...], name: Any
) -> None:
    with pytest.raises(PlansError, match="must be the name of a folder, without separators"):
        check_plans(put(stock_plans(), place, name), FILE, trusted=True)


def test_what_nnunet_and_we_write_is_known() -> None:
    moved = f"dynamic_network_architectures.architectures.{'residual_unet'}.ResidualEncoderUNet"
    check_plans(put(stock_plans(), (*NETWORK, "network_class_name"), moved), FILE)
    check_dataset_json(DATASET_JSON | {"overwrite_image_reader_writer": "NibabelIO"}, FILE)
    for trainer in ("nnUNetTrainer", "nnUNetTrainer_5epochs", "nnUNetTrainerUMambaEnc"):
        check_trainer(trainer, FILE, our_trainers())


def test_readers_endings_and_trainers_are_checked(canary: Path) -> None:
    with pytest.raises(PlansError, match="overwrite_image_reader_writer names 'os'"):
        check_dataset_json(DATASET_JSON | {"overwrite_image_reader_writer": "os"}, FILE)
    for ending in (".nii/../../x", "nii", None, ".."):
        with pytest.raises(PlansError, match="must be an ending such as"):
            check_dataset_json(DATASET_JSON | {"file_ending": ending}, FILE)
    for trainer in ("os", "hostile_module", "nnUNetTrainerMine", None):
        with pytest.raises(PlansError, match="trainer_name names"):
            check_trainer(trainer, FILE, our_trainers())
    check_trainer("nnUNetTrainerMine", FILE, (), trusted=True)


def test_nnunets_own_functions_read_by_our_reader(canary: Path, tmp_path: Path) -> None:
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

    before = torch.load
    for name, payload in payloads(canary).items():
        torch.save({"network_weights": {}, "x": payload}, tmp_path / "evil.pth")
        with only_safe_loading(), pytest.raises(CheckpointError, match="was not loaded"):
            load_pretrained_weights(torch.nn.Linear(1, 1), str(tmp_path / "evil.pth"))
        assert torch.load is before, name


def test_a_checkpoint_for_prediction_is_no_training_to_go_on_with(tmp_path: Path) -> None:
    from nnunetv2.run.load_pretrained_weights import load_pretrained_weights

    torch.save({"network_weights": {}}, tmp_path / "c.pth")
    with pytest.raises(CheckpointError, match="lacks 'logging': it was made"), only_safe_loading():
        torch.load(tmp_path / "c.pth")["logging"]
    with pytest.raises(CheckpointError, match="does not fit the network"), only_safe_loading():
        load_pretrained_weights(torch.nn.Linear(1, 1), str(tmp_path / "c.pth"))


def refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """Install and predict: one error each that says these words, and nothing is written."""
    (tmp_path / "in").mkdir(exist_ok=True)
    results, output = tmp_path / "installed", tmp_path / "out"
    predict = ["predict", "-m", str(model), "-i", str(tmp_path / "in"), "-o", str(output)]
    for command in (["install", str(model), "--results", str(results)], predict):
        capsys.readouterr()
        assert main([*command]) == 2
        error = capsys.readouterr().err
        lines = [line for line in error.splitlines() if line.startswith(f"umamba {command[0]}: ")]
        assert len(lines) == 1
        for word in words:
            assert word in lines[0]
        assert "Traceback" not in error
        assert ".umamba-install-" not in lines[0]
    assert not output.exists()
    assert list(results.iterdir()) == []


def stock_zip(path: Path, checkpoint: Any, plans: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        top = f"{NAME}/{MODEL}"
        archive.writestr(f"{top}/plans.json", json.dumps(plans))
        archive.writestr(f"{top}/dataset.json", json.dumps(DATASET_JSON))
        with archive.open(f"{top}/fold_0/checkpoint_final.pth", "w") as file:
            torch.save(checkpoint, file)
    return path


GOOD = {
    "network_weights": {},
    "trainer_name": "nnUNetTrainer",
    "init_args": {"configuration": "3d_fullres"},
}


@pytest.mark.parametrize("name", payloads(Path()))
def test_malicious_checkpoints_in_stock_zips(
    name: str, canary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = GOOD | {"network_weights": payloads(canary)[name]}
    model = stock_zip(tmp_path / "evil.zip", checkpoint, toy_plans())
    refused(model, tmp_path, capsys, f"{model}/{NAME}/{MODEL}/fold_0", "was not loaded")


def test_a_bare_pickle_in_a_stock_zip(
    canary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        evil = pickle.dumps(payloads(canary)["os.system"], protocol=2)
        archive.writestr(f"{NAME}/{MODEL}/fold_0/checkpoint_final.pth", evil)
    refused(tmp_path / "evil.zip", tmp_path, capsys, "checkpoint_final.pth")


def test_hostile_plans_trainers_and_weights_that_do_not_fit_in_stock_zips(
    canary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def model(plans: dict[str, Any], **checkpoint: Any) -> Path:
        return stock_zip(tmp_path / "evil.zip", GOOD | checkpoint, plans)

    nonlin = put(toy_plans(), (*NETWORK, "arch_kwargs", "nonlin"), "os.system")
    refused(model(nonlin), tmp_path, capsys, "arch_kwargs.nonlin names 'os.system'")
    trainer = model(toy_plans(), trainer_name="hostile_module")
    refused(trainer, tmp_path, capsys, "trainer_name names 'hostile_module'")
    refused(model(toy_plans()), tmp_path, capsys, "do not fit the network")
    huge = put(toy_plans(), (*NETWORK, "arch_kwargs", "features_per_stage"), [16])
    refused(model(huge), tmp_path, capsys, "plans.json: features_per_stage needs 3 positive")
    giant = put(toy_plans(), (*NETWORK, "arch_kwargs", "features_per_stage"), [10**4] * 3)
    refused(model(giant), tmp_path, capsys, "do not fit the network")
    refused(model({"configurations": []}), tmp_path, capsys, "need `configurations`")


def zipped(exported: Path, path: Path, **more: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(p for p in exported.rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(exported).as_posix())
        for name, content in more.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "name", ["../evil", "a/../../evil", "/etc/evil", "C:/evil", "a\\..\\evil", "a//b", "x/./y"]
)
def test_names_that_lead_out_of_the_folder(
    name: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = zipped(exported, tmp_path / "evil.zip", **{name: b"evil"})
    refused(model, tmp_path, capsys, f"the name {name!r} leads out of the model's folder")
    assert not list(tmp_path.rglob("evil"))


def special(name: str, kind: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = (kind | 0o777) << 16
    return member


@pytest.mark.parametrize(("kind", "words"), [(stat.S_IFLNK, "a link"), (stat.S_IFIFO, "ordinary")])
def test_links_and_pipes_in_a_zip(
    kind: int, words: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = zipped(exported, tmp_path / "evil.zip")
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr(special("fold_1", kind), "/etc")
    refused(model, tmp_path, capsys, "'fold_1' is", words)


def test_links_in_a_folder(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("plans.json", "extra", "fold_1"):
        model = tmp_path / f"linked_{name}"
        shutil.copytree(exported, model)
        (model / name).unlink(missing_ok=True)
        (model / name).symlink_to(exported if name == "fold_1" else exported / "plans.json")
        refused(model, tmp_path, capsys, f"'{name}' is a link")


def hub_cache(exported: Path, root: Path) -> Path:
    """Return a model as the cache of the Hugging Face hub has it: files are links into `blobs`."""
    snapshot, blobs = root / "snapshots" / "0f1e", root / "blobs"
    shutil.copytree(exported, snapshot)
    blobs.mkdir()
    for path in [path for path in snapshot.rglob("*") if path.is_file()]:
        blob = blobs / hashlib.sha256(path.read_bytes()).hexdigest()
        path.rename(blob)
        path.symlink_to(os.path.relpath(blob, path.parent))
    return snapshot


def test_the_cache_of_the_hugging_face_hub_is_read(exported: Path, tmp_path: Path) -> None:
    model = hub_cache(exported, tmp_path / "models--somebody--organs")
    results = tmp_path / "results"
    assert main(["install", str(model), "--results", str(results)]) == 0
    assert not [path for path in results.rglob("*") if path.is_symlink()]
    weights = next((model / "fold_0").iterdir())
    weights.resolve().write_bytes(b"torn")
    assert main(["install", str(model), "--results", str(tmp_path / "others")]) == 2


@pytest.mark.parametrize("target", ["file", "folder", "pipe", "loop", "process", "blobs"])
def test_a_hub_cache_leads_nowhere_else(
    target: str, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "models--somebody--organs"
    model, card = hub_cache(exported, cache), "README.md"  # which has no checksum
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "secret").write_text("secret")
    (model / card).unlink()
    blob = cache / "blobs" / "0"
    if target == "file":
        blob.symlink_to(tmp_path / "private" / "secret")
    elif target == "folder":
        blob.mkdir()
    elif target == "pipe":
        os.mkfifo(blob)
    elif target == "loop":
        blob.symlink_to(blob)
    elif target == "process":
        blob.symlink_to("/proc/self/environ")
    else:
        (cache / "blobs").rename(tmp_path / "elsewhere")
        (cache / "blobs").symlink_to(tmp_path / "elsewhere")
        blob = tmp_path / "private" / "secret"
    (model / card).symlink_to(blob)
    refused(model, tmp_path, capsys, "is a link")


def test_zip_bombs(exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bomb = zipped(exported, tmp_path / "bomb.zip", bomb=b"\0" * 2**24)
    refused(bomb, tmp_path, capsys, "'bomb' would grow from", "16777216 bytes, as a zip bomb does")
    many = {f"{i:05d}": b"" for i in range(10_001)}
    refused(
        zipped(exported, tmp_path / "many.zip", **many), tmp_path, capsys, "more than the 10000"
    )
    whole = zipped(exported, tmp_path / "whole.zip")
    assert list_members(whole)
    with pytest.raises(UMambaError, match=r"would grow to \d+ bytes, more than 1000, as a zip"):
        list_members(whole, most_bytes=1000)


def test_overlapping_files_and_a_size_that_lies(exported: Path, tmp_path: Path) -> None:
    model = zipped(exported, tmp_path / "evil.zip")
    raw = model.read_bytes()
    with zipfile.ZipFile(model) as archive:
        start = archive.start_dir
    directory = bytearray(raw[start:])
    directory[20:24] = len(raw).to_bytes(4, "little")  # the first member's packed size
    model.write_bytes(raw[:start] + directory)
    with pytest.raises(UMambaError, match="overlap in it, as in a zip bomb"):
        list_members(model)


def test_the_same_file_twice_and_what_is_no_zip(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = zipped(exported, tmp_path / "twice.zip")
    with warnings.catch_warnings(), zipfile.ZipFile(model, "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("PLANS.json", "{}")
    refused(model, tmp_path, capsys, "'PLANS.json' twice")
    (tmp_path / "torn.zip").write_bytes(model.read_bytes()[:-100])
    refused(tmp_path / "torn.zip", tmp_path, capsys, "is not a zip file, or is damaged")
    flipped = bytearray(zipped(exported, tmp_path / "flipped.zip").read_bytes())
    flipped[len(flipped) // 2] ^= 1
    (tmp_path / "flipped.zip").write_bytes(flipped)
    refused(tmp_path / "flipped.zip", tmp_path, capsys, "is damaged")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("holiday.txt", "sun")
    refused(tmp_path / "other.zip", tmp_path, capsys, "holds neither a manifest.json nor models")


def sign(model: Path) -> None:
    """Give the manifest the checksums of what is there, as an attacker would."""
    manifest = read_json(model / "manifest.json")
    for name in manifest["files"]:
        file = model / name
        manifest["files"][name] = {"bytes": file.stat().st_size, "sha256": sha256(file)}
    (model / "manifest.json").write_text(json.dumps(manifest))


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    content = read_json(path)
    change(content)
    path.write_text(json.dumps(content))


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "wrong hash": (
        lambda m: (m / "plans.json").write_text((m / "plans.json").read_text() + " "),
        "'plans.json' is not what was exported: its checksum differs",
    ),
    "truncated weights": (
        lambda m: os.truncate(m / "fold_0/weights.safetensors", 1000),
        "'fold_0/weights.safetensors' is not what was exported",
    ),
    "truncated weights with their checksum": (
        lambda m: (os.truncate(m / "fold_0/weights.safetensors", 1000), sign(m)),
        "fold_0/weights.safetensors is damaged, or holds no weights",
    ),
    "no weights at all": (
        lambda m: ((m / "fold_0/weights.safetensors").write_bytes(b"\xff" * 64), sign(m)),
        "is damaged, or holds no weights",
    ),
    "extra file": (lambda m: (m / "evil.py").touch(), "manifest.json does not list 'evil.py'"),
    "missing file": (lambda m: (m / "dataset.json").unlink(), "'dataset.json' is missing"),
    "no plans listed": (
        lambda m: rewrite(m / "manifest.json", lambda c: c["files"].pop("plans.json")),
        "manifest.json lists no plans.json, which every model needs",
    ),
    "later schema": (
        lambda m: rewrite(m / "manifest.json", lambda c: c.update(schema_version=2)),
        "schema_version 2; this umamba reads 1",
    ),
    "names that nnU-Net would not find": (
        lambda m: rewrite(m / "manifest.json", lambda c: c.update(dataset="Toy")),
        "nnU-Net finds no model",
    ),
    "damaged manifest": (
        lambda m: rewrite(m / "manifest.json", lambda c: c.update(folds=[1])),
        "manifest.json is damaged",
    ),
    "infinite size": (
        lambda m: rewrite(
            m / "manifest.json", lambda c: c["files"]["plans.json"].update(bytes=float("inf"))
        ),
        "manifest.json is damaged (OverflowError",
    ),
    "thousands of folds of one file of weights": (
        lambda m: rewrite(
            m / "manifest.json",
            lambda c: c.update(folds={str(i): c["folds"]["0"] for i in range(5000)}),
        ),
        "5000 folds share their weights, or are too many",
    ),
    "axes that are not whole": (
        lambda m: rewrite(
            m / "manifest.json", lambda c: c["folds"]["0"].update(mirroring_axes=[0.5])
        ),
        "epochs or counts are not whole",
    ),
    "forty axes": (
        lambda m: rewrite(
            m / "manifest.json", lambda c: c["folds"]["0"].update(mirroring_axes=[0] * 40)
        ),
        "must be different axes of an image",
    ),
    "a fold in other digits": (
        lambda m: rewrite(
            m / "manifest.json", lambda c: c["folds"].update({"\u0661": c["folds"]["0"]})
        ),
        "there is no fold",
    ),
    "manifest that is no JSON": (
        lambda m: (m / "manifest.json").write_text("[" * 100_000),
        "manifest.json cannot be read",
    ),
    "data set that leads elsewhere": (
        lambda m: rewrite(m / "manifest.json", lambda c: c.update(dataset="../../elsewhere")),
        "dataset is '../../elsewhere', but must be the name of a folder",
    ),
    "weights that lead elsewhere": (
        lambda m: rewrite(
            m / "manifest.json", lambda c: c["folds"]["0"].update(weights="../../etc/passwd")
        ),
        "the name '../../etc/passwd' leads out",
    ),
    "fold that leads elsewhere": (
        lambda m: rewrite(m / "manifest.json", lambda c: c["folds"].update({"../1": {}})),
        "manifest.json is damaged",
    ),
    "trainer": (
        lambda m: rewrite(
            m / "manifest.json", lambda c: c["folds"]["0"].update(trainer_name="hostile_module")
        ),
        "trainer_name names 'hostile_module'",
    ),
    "plans": (
        lambda m: (
            rewrite(
                m / "plans.json",
                lambda c: put(c, (*NETWORK, "network_class_name"), "hostile_module.PlainConvUNet"),
            ),
            sign(m),
        ),
        "network_class_name names 'hostile_module.PlainConvUNet'",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_and_hostile_exports(
    name: str,
    exported: Path,
    canary: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage, words = DAMAGES[name]
    model = tmp_path / "model"
    shutil.copytree(exported, model)
    damage(model)
    refused(model, tmp_path, capsys, words)
    refused(zipped(model, tmp_path / "model.zip"), tmp_path, capsys, words)


def test_what_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["install", "--results", str(tmp_path / "r")]
    assert main([*command, str(tmp_path / "no.zip")]) == 2
    assert "no.zip does not exist; give an exported folder or zip" in capsys.readouterr().err
    assert main([*command, str(tmp_path)]) == 2
    assert "is not a folder that `umamba export` wrote" in capsys.readouterr().err
    assert list((tmp_path / "r").iterdir()) == []


def test_hostile_plans_are_not_trained_or_derived_from(
    canary: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "preprocessed" / NAME
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    plans = put(stock_plans(), (*NETWORK, "arch_kwargs", "nonlin"), "hostile_module.PlainConvUNet")
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    options = ["--preprocessed", str(folder.parent), "--results", str(tmp_path / "results")]
    train = ["train", "901", "3d_fullres", "0", "-p", "nnUNetPlans", "-device", "cpu"]
    for command in (["plan", "901", "--model", "umamba_bot"], train):
        assert main([*command, *options]) == 2
        message = f"{folder}/nnUNetPlans.json: {'.'.join(NETWORK)}.arch_kwargs.nonlin names"
        assert message in capsys.readouterr().err
    assert not (tmp_path / "results").exists()
    assert sorted(p.name for p in folder.iterdir()) == ["dataset.json", "nnUNetPlans.json"]
