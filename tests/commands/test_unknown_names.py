"""A name that nothing has is answered with the one that was meant."""

import json
from pathlib import Path

import pytest

from plans_factory import DATASET_JSON, stock_plans
from umamba.cli.main import main
from umamba.errors import closest, unknown_name
from umamba.nnunet.paths import Paths
from umamba.nnunet.preparation import find_dataset
from umamba.nnunet.training.folds import find_trainer


def test_the_closest_name_is_offered_whatever_its_case() -> None:
    assert closest("UMAMBA_BTO", ["umamba_bot", "unetpp"]) == "did you mean umamba_bot? "
    assert closest("nuclei", ["Dataset101_Nuclei"]) == "did you mean Dataset101_Nuclei? "
    assert closest("zzz", ["umamba_bot", "unetpp"]) == ""
    assert unknown_name("mixer", "mamab", ["mamba", "none"]) == (
        "mixer 'mamab' does not exist; did you mean mamba? choose one of mamba, none"
    )
    assert unknown_name("mixer", "zzz", ["mamba", "b", "c", "d"], "see there") == (
        "mixer 'zzz' does not exist; choose one of mamba, b, c, ...; see there"
    )


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("plna 4", "'plna' is not a command; did you mean plan?"),
        ("plan 4 --model umamba_bt", "did you mean umamba_bot? `umamba models` lists all"),
        ("plan 4 --model qqqq", "model 'qqqq' does not exist; choose one of umamba_bot,"),
        ("plan 4 --model nnunet --mixer mamab", "did you mean mamba? choose one of mamba,"),
        ("train 4 3d_fullres 0 --model unetpp --epohcs 3", "--epohcs 3; did you mean --epochs?"),
        ("models --models unetpp,segresnt", "did you mean segresnet? `umamba models` lists"),
        ("compare 4 --models unetpp,segresnt", "did you mean segresnet? `umamba models` lists"),
        ("predict -i a -o b --overwrit=1", "--overwrit"),
    ],
)
def test_commands_options_and_models(
    command: str, answer: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        main(command.split())
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert answer in said
    assert len(said.splitlines()) == 2  # the fault, and where to read on


def test_data_sets_plans_configurations_trainers_and_trained_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "preprocessed" / "Dataset004_Hippocampus"
    folder.mkdir(parents=True)
    model = "nnUNetTrainerUMamba__nnUNetUMambaBotPlans__3d_fullres"
    trained = tmp_path / "results" / folder.name / model
    trained.mkdir(parents=True)
    (trained / "plans.json").write_text("{}")
    (folder / "nnUNetPlans.json").write_text(json.dumps(stock_plans()))
    (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
    paths = Paths(None, tmp_path / "preprocessed", tmp_path / "results")
    with pytest.raises(ValueError, match=r"did you mean Dataset004_Hippocampus\?"):
        find_dataset("Dataset04_Hipocampus", paths)
    with pytest.raises(ValueError, match=r"did you mean nnUNetTrainerUMamba\?"):
        find_trainer("nnUNetTrainerUmama")
    where = ["--preprocessed", str(paths.preprocessed), "--results", str(paths.results)]
    for command, answer in (
        (["train", "4", "3d_fulres", "0", "-p", "nnUNetPlans"], "did you mean 3d_fullres?"),
        (["train", "4", "2d", "0", "-p", "nnUNetPlan"], "did you mean nnUNetPlans?"),
        (
            ["plan", "4", "--model", "umamba_bot", "--batch-size", "2", "--configurations", "d2"],
            "configuration d2 is not in plans 'nnUNetPlans'; they have 2d, 3d_lowres,",
        ),
        (
            ["predict", "-i", "a", "-o", "b", "-d", "4", "-c", "3d_fulres", "--model=umamba_bot"],
            f"did you mean {model}?",
        ),
    ):
        assert main([*command, *where]) == 2
        assert answer in capsys.readouterr().err
