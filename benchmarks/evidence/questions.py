"""The questions that are asked of every data set, and their answers over all of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from benchmarks.evidence.effects import (
    Effect,
    dice_difference,
    early_dice,
    object_f1,
    on_small_objects,
    small_object_contrast,
    unsteadiness,
)
from benchmarks.evidence.meta_analysis import Combined, combine
from umamba.comparison.results import Results

__all__ = ["NAMES", "QUESTIONS", "Answer", "Question", "answer"]

BOT, ENC, U_NET, TRANSFORMER = "umamba_bot", "umamba_enc", "nnunet", "unetrpp"
WITHOUT, MATCHED = "umamba_bot_nomamba", "{}_matched"
NAMES = {
    BOT: "Bot",
    ENC: "Enc",
    U_NET: "U-Net",
    TRANSFORMER: "UNETR++",
    WITHOUT: "without Mamba",
    MATCHED.format(BOT): "matched",
    MATCHED.format(ENC): "matched",
    "unetpp": "UNet++",
    "attention_unet": "Attention U-Net",
}


@dataclass(frozen=True)
class Question:
    """A question: one measure of two models.

    Attributes:
        key: Its name.
        title: What is measured, first minus second model.
        measure: Returns the effect in a data set; `None` if it cannot be told.
        in_figure: Whether the forest plot shows it.
    """

    key: str
    title: str
    measure: Callable[[Results], Effect | None]
    in_figure: bool = False


@dataclass(frozen=True)
class Answer:
    """The answer of all data sets to a question.

    Attributes:
        question: The question.
        effects: The effect in each data set in which it is known.
        combined: All of them together; `None` if there are none.
    """

    question: Question
    effects: dict[str, Effect]
    combined: Combined | None


def _ask(
    measure: Callable[[Results, str, str], Effect | None],
    kind: str,
    said: str,
    pairs: tuple[tuple[str, str, bool], ...],
) -> tuple[Question, ...]:
    return tuple(
        Question(
            f"{kind}:{model}-{baseline}",
            f"{said}, {NAMES[model]} \N{MINUS SIGN} {NAMES[baseline]}",
            partial(measure, model=model, baseline=baseline),
            in_figure,
        )
        for model, baseline, in_figure in pairs
    )


_DICE_PAIRS = (
    (BOT, WITHOUT, True),
    (ENC, WITHOUT, True),
    (BOT, MATCHED.format(BOT), False),
    (ENC, MATCHED.format(ENC), False),
    (BOT, U_NET, True),
    (ENC, U_NET, True),
    (BOT, TRANSFORMER, True),
    (ENC, TRANSFORMER, True),
    (ENC, BOT, True),
    (TRANSFORMER, U_NET, False),
    ("unetpp", U_NET, False),
    ("attention_unet", U_NET, False),
)
_OTHER_PAIRS = (
    (BOT, U_NET, True),
    (ENC, U_NET, True),
    (BOT, WITHOUT, False),
    (ENC, WITHOUT, False),
)
_F1_PAIRS = tuple((model, baseline, False) for model, baseline, _ in _OTHER_PAIRS)
_NOT_DRAWN = tuple((model, baseline, False) for model, baseline, _ in _OTHER_PAIRS[:2])

QUESTIONS: tuple[Question, ...] = (
    *_ask(dice_difference, "dice", "Dice", _DICE_PAIRS),
    *_ask(small_object_contrast, "contrast", "Small objects less others", _OTHER_PAIRS),
    *_ask(on_small_objects, "small", "Dice of small objects", _NOT_DRAWN),
    *_ask(partial(object_f1, size="small"), "small_f1", "F1 of small objects", _OTHER_PAIRS),
    *_ask(partial(object_f1, size="all"), "f1", "F1 of all objects", _F1_PAIRS),
    *_ask(early_dice, "early", "Pseudo Dice of the first quarter", _OTHER_PAIRS),
    *_ask(unsteadiness, "jumps", "Jumps of pseudo Dice between epochs", _NOT_DRAWN),
)


def answer(results: Mapping[str, Results]) -> dict[str, Answer]:
    """Answer every question.

    Args:
        results: The comparison of each data set.

    Returns:
        The answers by the questions' names.
    """
    answers = {}
    for question in QUESTIONS:
        effects = {name: question.measure(of_set) for name, of_set in results.items()}
        known = {name: effect for name, effect in effects.items() if effect is not None}
        answers[question.key] = Answer(question, known, combine(known) if known else None)
    return answers
