"""Predict as a request says: find its model, segment, and write what else it asks for."""

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from umamba.dicom.output_formats import OutputFormats
from umamba.dicom.studies import StudyOptions
from umamba.errors import UMambaError, unknown_name
from umamba.nnunet.model_loading import find_folds
from umamba.nnunet.postprocessing import chosen_for
from umamba.nnunet.prediction.attention_maps import draw_attention, load_attention
from umamba.nnunet.prediction.folders import PredictionReport, predict
from umamba.nnunet.prediction.loading import PredictionOptions
from umamba.nnunet.prediction_request import PredictionRequest
from umamba.nnunet.preparation import find_dataset
from umamba.nnunet.sharing.installation import opened_model

__all__ = ["model_folder", "predict_with"]


def predict_with(request: PredictionRequest) -> PredictionReport:
    """Segment a folder of images with the model that a request names.

    Raises:
        UMambaError: If the model cannot be used, no case can be predicted, or outputs cannot be
            written.
    """
    if request.part_id >= request.num_parts:
        msg = (
            f"-part_id {request.part_id} is not one of the parts, which are numbered from 0 to "
            f"{request.num_parts - 1}; give another one, or a larger -num_parts"
        )
        raise UMambaError(msg)
    options = PredictionOptions(
        folds=tuple(map(str, request.folds)),
        checkpoint_name=request.checkpoint,
        engine=request.engine,
        prune_to=request.prune_to,
        step_size=request.step_size,
        mirroring=not request.disable_tta,
        skip_background_patches=request.skip_background_patches,
        save_probabilities=request.save_probabilities,
        device=str(request.device),
        previous_stage=None if request.previous_stage is None else Path(request.previous_stage),
        overwrite=request.overwrite,
        num_parts=request.num_parts,
        part_id=request.part_id,
        trust_plans=request.trust_plans,
        studies=StudyOptions(
            series=tuple(request.series),
            resample_irregular=request.resample_irregular,
            resample_channels=request.resample_channels,
            suv=request.suv,
            key=_key(request),
        ),
        formats=OutputFormats(
            names=tuple(request.output_format),
            codes=None if request.codes is None else Path(request.codes),
        ),
        ensemble=tuple(Path(model) for model in request.ensemble),
    )
    images, output = Path(request.images), Path(request.output)
    with opened_model(model_folder(request), trust_plans=request.trust_plans) as model:
        options = replace(options, postprocessing=_postprocessing(request, model))
        if request.attention_maps is None:
            return predict(model, images, output, options)
        maps = Path(request.attention_maps)
        attention = load_attention(model, maps, options)
        report = predict(model, images, output, options)
        draw_attention(attention, images, output, maps, options, report)
        return report


def _key(request: PredictionRequest) -> Path | None:
    """Return the key file of names from DICOM: of a second stage, that of the first."""
    if request.key is None and request.previous_stage is not None:
        return StudyOptions().key_beside(Path(request.previous_stage))
    return None if request.key is None else Path(request.key)


def _postprocessing(request: PredictionRequest, model: Path) -> Path | None:
    """Return the file of post-processing that a request asks for; say so if it could ask for one.

    Args:
        request: The request.
        model: The folder of its model, unpacked if it is an exported one.

    Raises:
        UMambaError: If it asks for the one that nnU-Net chose, and there is none.
    """
    if request.postprocessing is not None and request.postprocessing != "auto":
        return Path(request.postprocessing)
    folders = [model, *map(Path, request.ensemble)]
    folds = [str(fold) for fold in request.folds]
    with suppress(UMambaError):  # loading the model will say what is wrong with it
        folds = folds or find_folds(folders[0], request.checkpoint)
    chosen = chosen_for(folders, folds)
    if request.postprocessing is None:
        if chosen is not None:
            sys.stderr.write(
                "note: nnU-Net chose a post-processing for this model; it is applied with "
                "--postprocessing auto\n"
            )
        return None
    if chosen is None:
        names = map(str, (model_folder(request), *request.ensemble))
        msg = (
            f"nnU-Net chose no post-processing for {', '.join(names)} and the folds "
            f"{' '.join(folds) or '-'}; run nnUNetv2_find_best_configuration, or name its file"
        )
        raise UMambaError(msg)
    return chosen


def model_folder(request: PredictionRequest) -> Path:
    """Return the folder, or exported file, of the model that a request names.

    Raises:
        UMambaError: If it names none, or none that is trained.
    """
    if request.model_folder is not None:
        return Path(request.model_folder)
    if request.dataset is None or request.configuration is None or request.plans is None:
        msg = "name the model by its folder (-m), or by -d, -c and -p or --model"
        raise UMambaError(msg)
    paths = request.paths.completed()
    name = f"{request.trainer}__{request.plans}__{request.configuration}"
    models = paths.require("results") / find_dataset(str(request.dataset), paths)
    trained = sorted(path.parent.name for path in models.glob("*__*__*/plans.json"))
    if trained and not (models / name).is_dir():
        raise UMambaError(unknown_name(f"in {models} the model", name, trained))
    return models / name
