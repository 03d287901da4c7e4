"""Planning of every model in a comparison on the same fingerprint, preprocessing and splits."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from umamba import registry
from umamba.comparison.results import AnalysisSettings
from umamba.comparison.rows import Training
from umamba.comparison.runs.budget import Budget
from umamba.comparison.runs.training_states import Validated
from umamba.comparison.training_options import TrainingOptions
from umamba.errors import PlansError, UMambaError
from umamba.evaluation.cases import Labels
from umamba.evaluation.labels import labels_from_dataset_json
from umamba.evaluation.settings import EvaluationSettings
from umamba.nnunet.fold_folders import fold_folder
from umamba.nnunet.paths import Paths
from umamba.nnunet.plans.derivation import PlanOptions, Plans, derive_plans, resolve
from umamba.nnunet.plans.files import keep_existing, read_plans, write_plans
from umamba.nnunet.preparation import ensure_plans, ensure_preprocessed, find_dataset
from umamba.nnunet.splits import chosen_cases, ensure_splits, read_splits
from umamba.nnunet.trust import read_trusted_plans
from umamba.recipes import Recipe
from umamba.system.json_files import load_json

__all__ = [
    "Asked",
    "ComparisonRequest",
    "Planned",
    "Source",
    "derive_all",
    "find_source",
    "prepare",
    "validation_cases",
]

_PREFERRED = ("3d_fullres", "2d")
_SOURCE = "nnUNetPlans"


@dataclass(frozen=True)
class Asked:
    """The trainings requested by one call: every model on every fold from every seed."""

    models: tuple[str, ...]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]

    def includes(self, training: Training) -> bool:
        """Return whether a training was requested."""
        return (
            training.model in self.models
            and training.fold in self.folds
            and training.seed in self.seeds
        )


@dataclass(frozen=True)
class ComparisonRequest(TrainingOptions):
    """The internal form of a request for a comparison.

    Args:
        dataset: `DatasetXXX_Name` or its number.
        models: Names of models, including controls; those already in `output` are added.
        folds: Numbers of folds; those already in `output` are added.
        seeds: Seeds; those already in `output` are added.
        budget: Length of every training.
        output: The folder of the results.
        baseline: The model that the others are compared with; `None` is `nnunet` if it is among
            them, or else the first.
        configuration: `2d`, `3d_fullres`, ...; `None` is `3d_fullres`, else `2d`.
        source: Plans to derive from.
        device: `cpu`, `cuda` or `mps`.
        stage: Folder for copies of the preprocessed data, on each machine; `None` is none.
        evaluation: Settings of the metrics; the cut points of sizes are determined and kept.
        analysis: Settings of the statistics, from this call regardless of earlier ones.
        trust_plans: Whether plans may have anything imported.
        tensorboard: Whether trainings also log for TensorBoard.
        test: Folders of the images and of the masks of a test set; `None` is that of earlier calls.
        credit: Origin and licence of the data; `None` is that of earlier calls.
        earlier: Trainings requested by earlier calls.
        now: Trainings requested by this call, if those of earlier ones are added above.
    """

    dataset: str
    models: tuple[str, ...]
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    budget: Budget
    output: Path
    baseline: str | None = None
    configuration: str | None = None
    source: str = _SOURCE
    device: str = "cpu"
    stage: str | None = None
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    analysis: AnalysisSettings = field(default_factory=AnalysisSettings)
    trust_plans: bool = False
    tensorboard: bool = False
    test: tuple[Path, Path] | None = None
    credit: str | None = None
    earlier: tuple[Asked, ...] = ()
    now: Asked | None = None

    @property
    def mirroring(self) -> bool:
        """Return whether validation cases are predicted with mirroring."""
        return self.validation_tta == "on"

    @property
    def validated(self) -> Validated:
        """Return how validation cases are predicted."""
        return Validated(self.mirroring, self.validation_cases is None)

    @property
    def asked(self) -> tuple[Asked, ...]:
        """Return the requests of all calls, this one last."""
        return (*self.earlier, self.now or Asked(self.models, self.folds, self.seeds))


@dataclass(frozen=True)
class Source:
    """The source that all models are planned from.

    Attributes:
        dataset: Full name of the data set.
        configuration: The configuration that is trained.
        plans: nnU-Net's plans.
        dataset_json: The data set's `dataset.json`.
        labels: Labels or regions to evaluate.
        ignore: The value in references that marks voxels to leave out.
    """

    dataset: str
    configuration: str
    plans: Plans
    dataset_json: dict[str, Any]
    labels: Labels
    ignore: int | None

    @property
    def file_ending(self) -> str:
        """File ending of images and masks."""
        return str(self.dataset_json["file_ending"])


@dataclass(frozen=True)
class Planned:
    """A comparison whose plans are derived, but not necessarily written.

    Attributes:
        source: Source of the plans.
        models: The models, with their controls.
        plans: The plans of every model and seed.
        recipe: The recipe of models whose names have none, or `own`.
    """

    source: Source
    models: tuple[str, ...]
    plans: dict[tuple[str, int | None], Plans]
    recipe: str = "nnunet"

    def recipe_of(self, model: str) -> Recipe:
        """Return the recipe that a model is trained by."""
        return registry.recipe_of(model, self.recipe)

    def plans_name(self, training: Training) -> str:
        """Return the name of a training's plans."""
        return str(self.plans[training.model, training.seed]["plans_name"])

    def folder(self, training: Training, paths: Paths) -> Path:
        """Return the folder of a training, as nnU-Net names it."""
        trainer = self.recipe_of(training.model).trainer
        model = f"{trainer}__{self.plans_name(training)}__{self.source.configuration}"
        return fold_folder(paths.require("results") / self.source.dataset / model, training.fold)


def find_source(request: ComparisonRequest, paths: Paths) -> Source:
    """Find the data set and the plans to derive from; nnU-Net makes its own where there are none.

    Raises:
        UMambaError: If the data set, the plans or the configuration do not exist.
    """
    dataset = find_dataset(request.dataset, paths)
    folder = paths.require("preprocessed") / dataset
    ensure_plans(dataset, request.source, paths)
    plans = read_trusted_plans(folder, request.source, trusted=request.trust_plans)
    configuration = _choose_configuration(plans, request.configuration)
    labels, ignore = labels_from_dataset_json(folder / "dataset.json")
    dataset_json = load_json(folder / "dataset.json")
    return Source(dataset, configuration, plans, dataset_json, labels, ignore)


def derive_all(request: ComparisonRequest, source: Source, paths: Paths) -> Planned:
    """Derive the plans of every model and seed.

    Models for which nnU-Net has a planner, such as `resenc_m`, derive from that planner's plans,
    unless the request names plans other than nnU-Net's default.

    Raises:
        PlansError: If a model does not exist, an option does not fit it, or it would need
            differently preprocessed data.
    """
    plans: dict[tuple[str, int | None], Plans] = {}
    folder = paths.require("preprocessed") / source.dataset
    for model in request.models:
        architecture = registry.find_architecture(model)
        own = _own_source(architecture, request, source, paths)
        names = {s: _plans_name(architecture.plans_name, request, source, s) for s in request.seeds}
        options = _options(request, architecture, source.configuration, names[request.seeds[0]])
        derived = derive_plans(own, architecture, options, source.dataset_json)
        for seed, name in names.items():  # seeds have the same plans under different names
            plans[model, seed] = keep_existing(folder, deepcopy(derived) | {"plans_name": name})
    return Planned(source, request.models, plans, request.recipe)


def _own_source(
    architecture: registry.Architecture,
    request: ComparisonRequest,
    source: Source,
    paths: Paths,
) -> Plans:
    """Return the plans of a model's own planner, if it has one and its plans are requested."""
    own_name = architecture.plans_name
    if architecture.planner is None or request.source != _SOURCE or own_name == _SOURCE:
        return source.plans
    ensure_plans(source.dataset, own_name, paths)
    folder = paths.require("preprocessed") / source.dataset
    plans = read_trusted_plans(folder, own_name, trusted=request.trust_plans)
    configuration = source.configuration
    if configuration not in plans["configurations"]:
        msg = (
            f"{own_name}, those of {architecture.name}, lack {configuration}; leave that model out"
        )
        raise PlansError(msg)
    theirs, ours = (resolve(p, configuration)["data_identifier"] for p in (plans, source.plans))
    if theirs != ours:
        msg = f"{architecture.name} needs the data {theirs}, not {ours}; leave that model out"
        raise PlansError(msg)
    return plans


def _choose_configuration(source: Plans, asked: str | None) -> str:
    available = source["configurations"]
    chosen = asked or _default_configuration(source)
    if chosen is None or chosen not in available:
        msg = (
            f"{asked or ' or '.join(_PREFERRED)} is not in plans {source.get('plans_name')!r}; "
            f"give one of {', '.join(available)} as --configuration"
        )
        raise PlansError(msg)
    if resolve(source, chosen).get("previous_stage") is not None:
        msg = f"{chosen} needs the predictions of another stage; give another --configuration"
        raise PlansError(msg)
    return str(chosen)


def _default_configuration(source: Plans) -> str | None:
    return next((name for name in _PREFERRED if name in source["configurations"]), None)


def _options(
    request: ComparisonRequest,
    architecture: registry.Architecture,
    configuration: str,
    plans_name: str,
) -> PlanOptions:
    features = request.features
    if features is not None and not architecture.topology.follows_plan:
        features = features[:1]  # its own topology, which follows from its width
    return PlanOptions(
        plans_name=plans_name,
        features=features,
        patch_size=request.patch_size,
        batch_size=request.batch_size,
        configurations=(configuration,),
    )


def _plans_name(default: str, request: ComparisonRequest, source: Source, seed: int) -> str:
    """Return a name for plans that tells their trainings from all others of this data set."""
    parts = [default]
    if source.configuration != _default_configuration(source.plans):
        parts.append(source.configuration)  # options apply to it alone
    if request.source != _SOURCE:
        parts.append(f"from-{request.source}")
    if request.features is not None:
        parts.append("features" + "-".join(map(str, request.features)))
    if request.patch_size is not None:
        parts.append("patch" + "x".join(map(str, request.patch_size)))
    if request.batch_size is not None:
        parts.append(f"batch{request.batch_size}")
    return "_".join([*parts, request.budget.tag, f"s{seed}"])


def prepare(planned: Planned, paths: Paths) -> None:
    """Write the plans, and have nnU-Net preprocess and split the data if necessary.

    Raises:
        UMambaError: If other plans already have one of the names.
    """
    source = planned.source
    folder = paths.require("preprocessed") / source.dataset
    for plans in planned.plans.values():
        _check_same(folder, plans)
    for plans in planned.plans.values():
        write_plans(folder, plans)
    first = next(iter(planned.plans.values()))["plans_name"]
    ensure_preprocessed(source.dataset, first, source.configuration, paths)
    ensure_splits(folder, folder / resolve(source.plans, source.configuration)["data_identifier"])


def validation_cases(
    source: Source, folds: Sequence[int], paths: Paths, number: int | None = None
) -> dict[int, frozenset[str]]:
    """Return the validation cases of each fold; none if nnU-Net has not split the data yet.

    Args:
        source: The data set.
        folds: The folds.
        paths: nnU-Net's folders.
        number: How many of each fold are predicted; `None` is all.

    Raises:
        UMambaError: If the splits lack a fold, or two folds share a case.
    """
    file = paths.require("preprocessed") / source.dataset / "splits_final.json"
    splits, _ = read_splits(file, ()) if file.is_file() else (None, [])
    if splits is None:
        return {fold: frozenset() for fold in folds}
    n_folds = len(splits.folds)
    missing = [fold for fold in folds if fold >= n_folds]
    if missing:
        msg = f"there is no fold {missing[0]}: the splits have {n_folds}, 0 to {n_folds - 1}"
        raise UMambaError(msg)
    cases = {fold: splits.folds[fold][1] for fold in folds}
    for first, second in combinations(folds, 2):
        if both := cases[first] & cases[second]:
            msg = (
                f"case {min(both)} is validated in folds {first} and {second} of {file}, but can "
                "be compared only once; leave one of these folds out"
            )
            raise UMambaError(msg)
    return {fold: frozenset(chosen_cases(of_fold, number)) for fold, of_fold in cases.items()}


def _check_same(folder: Path, plans: Plans) -> None:
    path = folder / f"{plans['plans_name']}.json"
    if path.is_file() and read_plans(folder, plans["plans_name"]) != plans:
        msg = (
            f"{path} differs from the plans that this comparison derives: its source plans, or our "
            "networks, have changed since. To train again, rename this file and the results that "
            "belong to it"
        )
        raise PlansError(msg)
