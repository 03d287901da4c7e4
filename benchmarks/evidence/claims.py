"""The article's claims, each with its number and its verdict."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evidence.effects import mean_dice, patch_halved
from benchmarks.evidence.measured import (
    FAR,
    FarDice,
    Measured,
    far_dice,
    memory_with_everything_kept,
    time_exponent,
)
from benchmarks.evidence.memory import FILE as MEMORY
from benchmarks.evidence.questions import BOT, ENC, TRANSFORMER, U_NET, WITHOUT, Answer
from benchmarks.evidence.rules import (
    MARGIN,
    RATIO,
    Verdict,
    about,
    at_least,
    greater,
    in_some,
    not_in_all,
)
from umamba.comparison.records import Interval
from umamba.comparison.results import Results
from umamba.reach.long_range_results import SEEN

__all__ = [
    "COMMANDS",
    "NOT_MEASURED",
    "Claim",
    "Evidence",
    "effect_text",
    "judge_claims",
    "signed",
]

NOT_MEASURED = "not measured yet"
_RUN = "python -m benchmarks.evidence.run"
_PATCHES = "python -m benchmarks.evidence.run nuclei nuclei-half-patch"
_KEPT = "python -m benchmarks.evidence.memory --output again"
_SCALING = "umamba benchmark scaling --threads 2 --budget 150 --output again"
_LONG_RANGE = "umamba benchmark long-range --dims 2 3 --output again"
# What they take, by the command.
COMMANDS = {
    _RUN: "hours to days; it resumes",
    _PATCHES: "hours; it resumes",
    _KEPT: "a minute or two",
    _SCALING: "three minutes",
    _LONG_RANGE: "an hour or so, as it trains all networks in 3D, too, of which ours are four; it "
    "resumes",
}
_MINUS = "\N{MINUS SIGN}"
_OURS = ((BOT, "Bot"), (ENC, "Enc"))


@dataclass(frozen=True)
class Evidence:
    """All that the claims are judged by.

    Attributes:
        answers: The answers to the questions.
        results: The comparison of each data set that has ended.
        unfinished: Those that have begun and not ended, which count nowhere.
        longer: The trainings with twice the iterations, of the U-Net and maybe others, by the name
            of the data set.
        patches: Those of the full and the half patch; `None` until there are both.
        measured: The folder of the measurements of costs.
    """

    answers: Mapping[str, Answer]
    results: Mapping[str, Results]
    unfinished: Mapping[str, Results]
    longer: Mapping[str, Results]
    patches: tuple[Results, Results] | None
    measured: Path


@dataclass(frozen=True)
class Claim:
    """A claim with what was found.

    Attributes:
        claim: What is claimed.
        tested: How it was tested.
        on: Data or machine.
        number: The number with its interval.
        verdict: A verdict of `rules`, or that nothing has been measured.
        command: The one of `COMMANDS` that repeats it.
    """

    claim: str
    tested: str
    on: str
    number: str = ""
    verdict: str = NOT_MEASURED
    command: str = _RUN


@dataclass(frozen=True)
class _Asked:
    """A claim on both of our models over all data sets.

    Attributes:
        claim: What is claimed.
        kind: The measure of the question.
        baseline: Name of what they are compared with.
        how: How it is tested.
        sign: 1 if more is better, -1 if less is.
        margin: The smallest difference that matters; 0 where only the sign counts.
    """

    claim: str
    kind: str
    baseline: str
    how: str
    sign: int = 1
    margin: float = MARGIN


_U_NET = _Asked("More accurate than a U-Net", "dice", U_NET, "Dice, {} less U-Net")
_TRANSFORMERS = _Asked(
    "More accurate than transformers", "dice", TRANSFORMER, "Dice, {} less UNETR++"
)
_MAMBA = _Asked(
    "Mamba makes the difference (our question)",
    "dice",
    WITHOUT,
    "Dice, {} less the same network without Mamba",
)
_OTHERS = (
    _Asked(
        "Exceptionally good on very small objects",
        "contrast",
        U_NET,
        "Dice of the true objects alone: {}'s lead over the U-Net on small ones, the smallest "
        "third, minus its lead on larger ones",
        margin=0.0,
    ),
    _Asked(
        "Exceptionally good on very small objects",
        "small_f1",
        U_NET,
        "F1 of small objects, the smallest third, {} less U-Net: false objects count",
    ),
    _Asked(
        "Good segmentation earlier in training",
        "early",
        U_NET,
        "pseudo Dice of the first quarter of the epochs, {} less U-Net",
    ),
    _Asked(
        "Stable segmentation in training",
        "jumps",
        U_NET,
        "jumps of pseudo Dice between epochs, {} less U-Net (fewer are better)",
        sign=-1,
        margin=0.0,
    ),
)


def signed(value: float, digits: int = 2) -> str:
    """Return a number with its sign, and a true minus."""
    return f"{value:+.{digits}f}".replace("-", _MINUS)


def effect_text(estimate: float, interval: Interval, digits: int = 2) -> str:
    """Return a difference with its interval, signed."""
    mean, low, high = (signed(x, digits) for x in (estimate, interval.low, interval.high))
    return f"{mean} ({low} to {high})"


def judge_claims(evidence: Evidence) -> list[Claim]:
    """Judge every claim, in the article's order.

    Raises:
        UMambaError: If a file of measurements is damaged.
    """
    answers = evidence.answers
    return [
        *_pairs(answers, _U_NET),
        *_pairs(answers, _TRANSFORMERS),
        *_not_on_all_tasks(answers),
        *_pairs(answers, _MAMBA),
        *(claim for asked in _OTHERS for claim in _pairs(answers, asked)),
        _small_patch(evidence.patches),
        *_memory(evidence),
        _doubling(evidence.measured / "scaling.json"),
        _over_each(
            "Bot slightly worse than Enc on some tasks",
            "Dice in each data set, Enc less Bot",
            answers[f"dice:{ENC}-{BOT}"],
            in_some,
        ),
        *_far(evidence.measured / "long-range.json"),
    ]


def _not_on_all_tasks(answers: Mapping[str, Answer]) -> list[Claim]:
    return [
        _over_each(
            "But not on all tasks",
            f"Dice in each data set, {name} less U-Net",
            answers[f"dice:{model}-{U_NET}"],
            not_in_all,
        )
        for model, name in _OURS
    ]


def _pairs(answers: Mapping[str, Answer], asked: _Asked) -> list[Claim]:
    return [
        _over_all(
            asked,
            asked.how.format(name),
            answers[f"{asked.kind}:{model}-{asked.baseline}"],
        )
        for model, name in _OURS
    ]


def _over_all(asked: _Asked, how: str, answered: Answer) -> Claim:
    """Judge a difference over all data sets."""
    found, claim = answered.combined, asked.claim
    if found is None:
        return Claim(claim, how, "data sets")
    ends = sorted((asked.sign * found.interval.low, asked.sign * found.interval.high))
    verdict = _of_one_set(greater(Interval(*ends), asked.margin), found.k)
    number = f"{effect_text(found.estimate, found.interval)} points"
    return Claim(claim, how, _count(found.k, "data set"), number, verdict)


def _of_one_set(verdict: Verdict, n: int) -> str:
    """Say that a verdict is about a single data set."""
    return f"{verdict} (one data set)" if n == 1 and verdict != "not shown" else verdict


def _judged(found: Measured, rule: Callable[[Interval], Verdict], noun: str) -> str:
    """Judge a measured number; one from a single network or training has no interval."""
    return rule(found.interval) if found.n > 1 else f"one {noun} only, not judged"


def _over_each(
    claim: str, how: str, answered: Answer, rule: Callable[[Sequence[Interval]], Verdict]
) -> Claim:
    """Judge the differences in single data sets, corrected for their number (Bonferroni)."""
    effects = answered.effects
    if not effects:
        return Claim(claim, how, "data sets")
    confidence = 1 - 0.05 / len(effects)
    intervals = {name: effect.interval_at(confidence) for name, effect in effects.items()}
    told = (f"{name} {effect_text(effects[name].estimate, i, 1)}" for name, i in intervals.items())
    number = f"{'; '.join(told)} points, corrected for {len(effects)}"
    verdict = _of_one_set(rule(list(intervals.values())), len(effects))
    return Claim(claim, how, _count(len(effects), "data set"), number, verdict)


def _small_patch(patches: tuple[Results, Results] | None) -> Claim:
    claim = "Needs no massive patches"
    how = "Dice that half the patch's edge costs the U-Net less what it costs Bot"
    on = "nuclei, 256 and 128 pixels, batch 1 and 4"
    effect = patch_halved(*patches, BOT, U_NET) if patches else None
    if patches is None or effect is None:
        return Claim(claim, how, on, command=_PATCHES)
    full, half = (mean_dice(results) for results in patches)
    means = [
        f"{name} {full[model]:.1f} to {half[model]:.1f}"
        for model, name in ((U_NET, "U-Net"), (BOT, "Bot"))
        if model in full and model in half
    ]
    number = "; ".join([f"{effect_text(effect.estimate, effect.interval)} points", *means])
    verdict = _of_one_set(greater(effect.interval), 1)
    return Claim(claim, how, on, number, verdict, _PATCHES)


def _memory(evidence: Evidence) -> list[Claim]:
    rows = (
        ("About twice the memory", BOT, U_NET, "Bot / U-Net", _twice),
        ("About twice the memory", ENC, U_NET, "Enc / U-Net", _twice),
        ("Bot needs much less than Enc", ENC, BOT, f"Enc / Bot, {RATIO} or more", _much),
        (
            "Mamba is what needs it (our question)",
            BOT,
            WITHOUT,
            f"Bot / without, {RATIO} or more",
            _much,
        ),
        (
            "Mamba is what needs it (our question)",
            ENC,
            WITHOUT,
            f"Enc / without, {RATIO} or more",
            _much,
        ),
    )
    claims = []
    for claim, model, baseline, said, rule in rows:
        how = f"peak memory of a training step, {said}"
        kept = memory_with_everything_kept(evidence.measured / MEMORY, model, baseline)
        published = f"{how}, no activation checkpointing; weights and optimiser not counted"
        claims.append(_ratio(claim, published, kept, rule))
    return claims


def _twice(interval: Interval) -> Verdict:
    return about(interval, 2.0)


def _much(interval: Interval) -> Verdict:
    return at_least(interval, RATIO)


def _ratio(
    claim: str,
    how: str,
    found: Measured | None,
    rule: Callable[[Interval], Verdict],
) -> Claim:
    if found is None:
        return Claim(claim, how, "networks, on a CPU", command=_KEPT)
    verdict = _judged(found, rule, "network")
    on = f"{_count(found.n, 'network')}, on a CPU"
    return Claim(claim, how, on, _measured_text(found), verdict, _KEPT)


def _doubling(scaling: Path) -> Claim:
    claim = "Doubling the input doubles the cost"
    how = "factor of the time of a Mamba layer when its sequence doubles"
    found, attention = (time_exponent(scaling, layer) for layer in ("mamba", "attention"))
    if found is None or attention is None:
        return Claim(claim, how, "one layer, on a CPU", command=_SCALING)
    verdict = about(found.doubled.interval, 2.0)
    told = f"{_measured_text(found.doubled)}; self-attention {_measured_text(attention.doubled)}"
    on = f"one layer, {found.n} lengths (self-attention {attention.n}), on a CPU"
    return Claim(claim, how, on, told, verdict, _SCALING)


def _far(file: Path) -> list[Claim]:
    """Judge whether networks solve a task that needs to look as far as it asks them to."""
    others = (
        ("without Mamba", far_dice(file, WITHOUT)),
        ("U-Net of 5 stages", far_dice(file, U_NET, 5)),
    )
    beside = [
        f"{name} {_measured_text(far.found)} [{_trainings(far)}]" for name, far in others if far
    ]
    claims = []
    for model, name in _OURS:
        how = f"Dice where markers {FAR} voxels away in the same row decide, {name}, {SEEN} or more"
        claim, far = f"It looks {FAR} voxels far, along a row", far_dice(file, model)
        if far is None:
            claims.append(Claim(claim, how, "drawn pictures", command=_LONG_RANGE))
            continue
        verdict = _judged(far.found, lambda interval: at_least(interval, SEEN), "training")
        told = "; ".join([_measured_text(far.found), *beside])
        on = f"drawn pictures, {_trainings(far)}"
        claims.append(Claim(claim, how, on, told, verdict, _LONG_RANGE))
    return claims


def _trainings(far: FarDice) -> str:
    """Say how many trainings count, and how many do not, by number of image axes."""
    parts = []
    for dim in sorted(far.counted | far.left_out):
        n, left_out = far.counted.get(dim), far.left_out.get(dim)
        said = f" ({left_out} did not learn the nearest: left out)" if left_out else ""
        parts.append(f"{dim}D: {_count(n, 'training') if n else 'none'}{said}")
    return ", ".join(parts)


def _measured_text(found: Measured) -> str:
    if math.isnan(found.interval.low):
        return f"{found.value:.2f}"
    return f"{found.value:.2f} ({found.interval.low:.2f} to {found.interval.high:.2f})"


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"
