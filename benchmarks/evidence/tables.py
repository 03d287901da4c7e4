"""The tables of `docs/verdict.md`, in Markdown."""

import math
import shlex
from collections.abc import Mapping, Sequence

from benchmarks.evidence.claims import COMMANDS, Claim, Evidence, effect_text, signed
from benchmarks.evidence.effects import Effect, gain_at_end, gain_of_longer
from benchmarks.evidence.questions import U_NET, Answer
from benchmarks.evidence.sets import ALL, EVIDENCE, SETS
from umamba.reporting.tables import markdown_table

__all__ = [
    "claims_table",
    "commands_list",
    "each_set_table",
    "effects_table",
    "repeat_list",
    "sets_table",
]

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
    """Return the table of the data sets, with what longer training would give the U-Net."""
    head = (
        "data set",
        "cases",
        "folds x seeds",
        "trainings",
        "budget",
        "patch",
        "tokens in the deepest stage",
        "Dice of the U-Net",
        "gain per tenth at the end (95 %)",
        "gain from twice the iterations (95 %)",
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
    found, longer = evidence.results[name], evidence.longer.get(name)
    settings = found.settings
    means = {summary.model: summary.estimate.mean for summary in found.dice.summaries}
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
        f"{means[U_NET] * 100:.1f}" if U_NET in means else "",
        _gain_text(gain_at_end(found, U_NET)),
        _gain_text(gain_of_longer(found, longer, U_NET)) if longer else "not trained yet",
    )


def _gain_text(gain: Effect | None) -> str:
    return effect_text(gain.estimate, gain.interval) if gain else ""


def commands_list() -> str:
    """Return the command of each comparison, in a block of its own."""
    of_each = (
        "\n".join(shlex.join(command) for command in comparison.commands(name))
        for name, comparison in ALL.items()
    )
    return "\n\n".join(f"```bash\n{commands}\n```" for commands in of_each)


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    return "\n".join(markdown_table(rows, range(len(rows[0]))))
