"""A second opinion on the intervals of `umamba compare`: a mixed model, by statsmodels.

pip install statsmodels
python -m benchmarks.mixed_model docs/examples/nuclei/results.json

Cases, cases by model, and trainings are random effects, estimated by restricted maximum likelihood.
Printed beside it is what `results.json` says; both in Dice points.
"""

import sys
from pathlib import Path

from umamba.comparison.results import Results, read_results
from umamba.comparison.statistics.analysis import analyse, compared_scores, models_with_shared_seeds

__all__ = ["main", "mixed_model"]


def mixed_model(results: Results, model: str, baseline: str) -> tuple[float, float]:
    """Return the mean difference of two models in Dice, and its standard error."""
    import pandas as pd
    from statsmodels.formula.api import mixedlm

    shared = models_with_shared_seeds(results)
    scores = [s for s in compared_scores(results, "dice") if s.model in (model, baseline)]
    rows = [
        {
            "dice": score.value,
            "ahead": float(score.model == model),
            "case": score.case,
            "case_of_model": f"{score.case} {score.model}",
            "training": f"{score.model} {score.seed} {'' if shared else score.fold}",
            "all": 1,
        }
        for score in scores
    ]
    effects = {name: f"0 + C({name})" for name in ("case", "case_of_model", "training")}
    table = pd.DataFrame(rows).dropna()
    fit = mixedlm("dice ~ ahead", table, groups="all", vc_formula=effects).fit(reml=True)
    return float(fit.params["ahead"]), float(fit.bse["ahead"])


def main() -> int:
    """Print both opinions on every comparison."""
    results = read_results(Path(sys.argv[1]))
    dice = analyse(results).dice
    for comparison in (*dice.comparisons, *dice.controls):
        pair, ours = (comparison.model, comparison.baseline), comparison.difference
        mean, error = (100 * number for number in mixed_model(results, *pair))
        own = 100 * ours.mean, 100 * ours.standard_error
        print(  # noqa: T201
            f"{pair[0]} against {pair[1]}: {own[0]:.2f}, standard error {own[1]:.2f}; "
            f"mixed model {mean:.2f}, {error:.2f}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
