"""Models of a comparison some of whose trainings are missing."""

from collections import Counter

from umamba.comparison.results import Results

__all__ = ["incomplete_models"]


def incomplete_models(results: Results) -> dict[str, str]:
    """Return the models that lack trainings, each with a note such as `1 of 4 trainings`.

    A mean over some folds is not one over all of them, so that such a model is not ranked.
    Trainings of stock nnU-Net were not planned, so that none of them is missing.
    """
    planned = [training for training in results.trainings if training.source == "compare"]
    n_planned = Counter(training.model for training in planned)
    n_done = Counter(training.model for training in planned if training.compared)
    return {
        model: f"{n_done[model]} of {n} trainings"
        for model, n in n_planned.items()
        if n_done[model] < n
    }
