"""The tables of a summary on the costs of models and on their speed of learning."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean

from umamba.comparison.learning_records import Reached
from umamba.comparison.report.summary_cells import MISSING, hours, number, table
from umamba.comparison.results import Results
from umamba.comparison.rows import Cost
from umamba.reporting.tables import Table

__all__ = ["cost_table", "dynamics_tables"]


def cost_table(results: Results) -> Table:
    """Return the table of the models' costs."""
    trained: dict[str, list[float]] = {}
    for training in results.trainings:
        if training.compared and training.train_hours is not None:
            trained.setdefault(training.model, []).append(training.train_hours)
    columns: dict[str, Callable[[Cost], str]] = {
        "parameters, M": lambda c: number(c.n_parameters, 2, factor=1e-6),
        "multiply-adds of a patch, G": lambda c: number(c.multiply_adds, 2, factor=1e-9),
        "memory of a training step, estimated, GiB": lambda c: number(
            c.memory_bytes, 2, factor=2**-30
        ),
        "measured, GiB": lambda c: number(c.peak_memory_bytes, 2, factor=2**-30),
        "s per iteration": lambda c: number(c.seconds_per_iteration, 3),
        "s per predicted case": lambda c: number(c.seconds_per_case, 2),
    }
    rows = [["model", *columns, "hours of a training"]]
    for name in results.model_names:
        cost, took = results.cost.get(name), trained.get(name)
        rows.append(
            [
                name,
                *(column(cost) if cost else MISSING for column in columns.values()),
                hours(fmean(took) if took else None),
            ]
        )
    explained = (
        "Memory and seconds were measured before the first training, for all models in turn, in "
        "float32 on random data. The hours are those that the trainings took, whatever else the "
        "machine was doing: compare models by the seconds."
    )
    return table(rows, notes=[explained])


def dynamics_tables(results: Results) -> list[Table]:
    """Return the tables of the models' speed of learning."""
    dynamics = results.dynamics
    shares = [f"{r.share * 100:.0f} %" for d in dynamics.values() for r in d.own_best]
    shares = list(dict.fromkeys(shares))
    baseline = results.settings.baseline
    return [
        _reached_table(results, "own_best", "Epochs (hours) to a share of its own best", shares),
        _reached_table(
            results, "baseline_best", f"Epochs (hours) to a share of {baseline}'s best", shares
        ),
        *_area_table(results),
    ]


def _reached_table(results: Results, key: str, title: str, shares: Sequence[str]) -> Table:
    rows = [["model", *shares]]
    rows += [
        [name, *(_reached(r) for r in getattr(results.dynamics[name], key))]
        for name in results.model_names
        if name in results.dynamics
    ]
    return table(rows, title=title)


def _reached(reached: Reached) -> str:
    epochs, n = reached.epochs, reached.n_trainings
    n_reached = epochs.n if reached.n_reached is None else reached.n_reached
    if not epochs.n:
        return f"never ({n} trainings)" if n else MISSING
    spread = epochs.seed_standard_deviation
    text = number(epochs.mean, 1)
    text += f" ± {number(spread, 1)}" if math.isfinite(spread) else ""
    text += f" ({hours(reached.hours.mean)} h)" if math.isfinite(reached.hours.mean) else ""
    return text if n_reached == n else f"{text}, reached by {n_reached} of {n}"


def _area_table(results: Results) -> list[Table]:
    """Return the table of best Dice and areas under the curves, if there are any."""
    dynamics = results.dynamics
    first = next(iter(dynamics.values()), None)
    if first is None:
        return []
    epochs = number(first.epochs_compared, 0)
    head = [
        "model",
        "best Dice",
        "SD over seeds",
        f"mean Dice over {epochs} epochs",
        "SD over seeds",
        f"mean Dice over {hours(first.hours_compared)} h",
        "SD over seeds",
    ]
    rows = [head]
    for name in results.model_names:
        if name in dynamics:
            spreads = (
                getattr(dynamics[name], k) for k in ("best", "area_over_epochs", "area_over_hours")
            )
            rows.append(
                [
                    name,
                    *(
                        number(getattr(spread, part), 3)
                        for spread in spreads
                        for part in ("mean", "seed_standard_deviation")
                    ),
                ]
            )
    explained = (
        "Dice here is the smoothed pseudo Dice on validation patches. ± is the standard deviation "
        "over seeds; the mean Dice over a period is the area under the curve divided by its length."
        " Times to the shares of one best are averaged over the same trainings, those that reached "
        "the highest share that any did."
    )
    return [table(rows, notes=[explained])]
