"""The tables of `docs/verdict.md`, in Markdown."""

import math
import shlex
from collections.abc import Mapping, Sequence

from benchmarks.evidence.claims import COMMANDS, Claim, Evidence, effect_text, signed
from benchmarks.evidence.effects import (
    Effect,
    dice_difference,
    gain_at_end,
    gain_of_longer,
    mean_dice,
)
from benchmarks.evidence.questions import (
    BOT,
    ENC,
    NAMES,
    TRANSFORMER,
    U_NET,
    WITHOUT,
    Answer,
)
from benchmarks.evidence.rules import MARGIN
from benchmarks.evidence.sets import ALL, EVIDENCE, SETS
from umamba.comparison.results import Results
from umamba.evaluation.instances import ALL_SIZES
from umamba.reporting.tables import markdown_table

__all__ = [
    "claims_table",
    "commands_list",
    "convergence_table",
    "each_set_table",
    "effects_table",
    "longer_table",
    "objects_table",
    "repeat_list",
    "sets_table",
]

_MOST_GAIN = 0.5  # points per tenth of the epochs that a converged network still gains
_COUNTED = ("small ones found", "small false ones per case", "false ones per case")
_FIRST = "first less second model"


def claims_table(claims: Sequence[Claim]) -> str:
    """Return the table of claims and verdicts."""
    head = ("claim", "verdict", "number (95 % interval)", "tested by", "on", "command")
    numbers = {command: number for number, command in enumerate(COMMANDS, start=1)}
    rows = [
        (
            c.claim,
            f"**{c.verdict}**",
            c.number,
            c.tested,
            c.on,
            f"[{numbers[c.command]}](#do-it-again)",
        )
        for c in claims
    ]
    return _table([head, *rows])


def repeat_list() -> str:
    """Return the commands that repeat the claims, numbered as in their table."""
    told = enumerate(COMMANDS.items(), start=1)
    return "\n".join(f"{number}. `{command}`: {takes}" for number, (command, takes) in told)


def effects_table(answers: Mapping[str, Answer]) -> str:
    """Return the table of the effects over all data sets."""
    head = (_FIRST, "k", "difference (95 %)", "tau", "in another such data set (95 %)")
    return _table([head, *map(_effect_row, answers.values())])


def _effect_row(answered: Answer) -> tuple[str, ...]:
    found, title = answered.combined, answered.question.title
    if found is None:
        return title, "0", "", "", ""
    new = f"{signed(found.prediction.low)} to {signed(found.prediction.high)}"
    mean = effect_text(found.estimate, found.interval)
    tau = f"{found.tau:.2f}" if found.k > 1 else ""
    return title, str(found.k), mean, tau, new if found.k > 2 else ""


def each_set_table(answers: Mapping[str, Answer]) -> str:
    """Return the table of the effects in each data set."""
    head = (_FIRST, *(of_set.title for of_set in SETS.values()))
    rows = []
    for answered in answers.values():
        effects = (answered.effects.get(name) for name in SETS)
        told = (effect_text(e.estimate, e.interval, 1) if e else "" for e in effects)
        rows.append((answered.question.title, *told))
    return _table([head, *rows])


def sets_table(evidence: Evidence) -> str:
    """Return the table of the data sets."""
    head = (
        "data set",
        "cases",
        "folds x seeds",
        "trainings",
        "budget",
        "patch",
        "tokens in the deepest stage",
        "Dice of the U-Net",
    )
    return _table(
        [
            head,
            *(
                _set_row(name, evidence)
                if name in evidence.results
                else (SETS[name].title, _not_yet(evidence, name), *[""] * (len(head) - 2))
                for name in SETS
            ),
        ]
    )


def _not_yet(evidence: Evidence, name: str) -> str:
    if (begun := evidence.unfinished.get(name)) is None:
        return "not trained yet"
    done = sum(training.status == "done" for training in begun.trainings)
    return f"not finished: {done} of {len(begun.trainings)} trainings"


def _set_row(name: str, evidence: Evidence) -> tuple[str, ...]:
    found, means = evidence.results[name], mean_dice(evidence.results[name])
    settings = found.settings
    ((kind, length),) = settings.budget.items()
    folder = f"{EVIDENCE.name}/{name}"
    return (
        f"[{SETS[name].title}]({folder}/summary.md) ([report]({folder}/report.html))",
        str(found.dataset.n_cases),
        f"{len(settings.folds)} x {len(settings.seeds)}",
        f"{len(found.compared)} of {len(found.trainings)}",
        f"{length:g} {kind}",
        " x ".join(map(str, settings.patch_size)) if settings.patch_size else "as planned",
        f"{' x '.join(map(str, SETS[name].deepest))} = {math.prod(SETS[name].deepest)}",
        f"{means[U_NET]:.1f}" if U_NET in means else "",
    )


def convergence_table(evidence: Evidence) -> str:
    """Return the table of what networks gain at the end, and by longer trainings."""
    head = (
        "data set",
        "network",
        "gain per tenth at the end (95 %)",
        "converged",
        "gain from twice the iterations (95 %)",
    )
    rows = [
        (SETS[name].title, NAMES[model], *_convergence(evidence, name, model))
        for name in evidence.results
        for model in (U_NET, BOT, ENC)
    ]
    return _table([head, *rows])


def _convergence(evidence: Evidence, name: str, model: str) -> tuple[str, str, str]:
    found, longer = evidence.results[name], evidence.longer.get(name)
    gain = gain_at_end(found, model)
    more = gain_of_longer(found, longer, model) if longer else None
    asked = model in SETS[name].longer_models.split(",")
    return _gain_text(gain), _converged(gain, more), _gain_text(more) or "not trained yet" * asked


def _converged(gain: Effect | None, more: Effect | None) -> str:
    """Say whether a network gains less than it may, at the end and by twice the iterations."""
    if any(e and e.interval.low > most for e, most in ((gain, _MOST_GAIN), (more, MARGIN))):
        return "no"
    return "yes" if gain and gain.interval.high < _MOST_GAIN else "not known"


def _gain_text(gain: Effect | None) -> str:
    return effect_text(gain.estimate, gain.interval) if gain else ""


def longer_table(evidence: Evidence) -> str:
    """Return the table of who is ahead by Dice, and who is after twice the iterations."""
    head = ("data set", f"Dice, {_FIRST}", "difference (95 %)", "after twice the iterations (95 %)")
    rows = [
        (
            SETS[name].title,
            f"{NAMES[model]} \N{MINUS SIGN} {NAMES[baseline]}",
            _gain_text(dice_difference(found, model, baseline)),
            _longer_text(evidence.longer.get(name), model, baseline),
        )
        for name, found in evidence.results.items()
        for model, baseline in ((BOT, U_NET), (BOT, WITHOUT))
        if {model, baseline} <= set(SETS[name].longer_models.split(","))
    ]
    return _table([head, *rows])


def _longer_text(longer: Results | None, model: str, baseline: str) -> str:
    difference = dice_difference(longer, model, baseline) if longer else None
    return _gain_text(difference) or "not trained yet"


def objects_table(evidence: Evidence) -> str:
    """Return the table of small objects, and of objects found that are not there."""
    head = ("data set", "label", "small, up to", "network", *_COUNTED)
    rows = [
        (SETS[name].title, label, _up_to(found, label), NAMES[model], *_counts(found, label, model))
        for name, found in evidence.results.items()
        for label in found.settings.evaluation.size_cut_points
        for model in (U_NET, WITHOUT, BOT, ENC, TRANSFORMER)
        if any((row.model, row.label) == (model, label) for row in found.instances)
    ]
    return _table([head, *rows])


def _up_to(found: Results, label: str) -> str:
    return f"{found.settings.evaluation.size_cut_points[label][0]:.0f} {found.dataset.spacing_unit}"


def _counts(found: Results, label: str, model: str) -> tuple[str, ...]:
    """Count objects in a label over all trainings of a model."""
    rows = [
        row
        for row in found.instances
        if (row.model, row.label) == (model, label) and row.training in found.compared
    ]
    small, every = ([row for row in rows if row.stratum == size] for size in ("small", ALL_SIZES))
    there = sum(row.n_reference for row in small)
    share = sum(row.n_matched for row in small) / there if there else math.nan
    false = (sum(r.n_prediction - r.n_matched for r in of) / len(of) for of in (small, every))
    return (f"{share:.0%}", *(f"{n:.1f}" for n in false))


def commands_list() -> str:
    """Return the command of each comparison, in a block of its own."""
    of_each = (
        "\n".join(shlex.join(command) for command in comparison.commands(name))
        for name, comparison in ALL.items()
    )
    return "\n\n".join(f"```bash\n{commands}\n```" for commands in of_each)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(markdown_table(rows, range(len(rows[0]))))
