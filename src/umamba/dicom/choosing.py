"""Choose series by UID, description or modality, and match them to the channels of a model."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from umamba.dicom.series import SeriesHead
from umamba.errors import DatasetError
from umamba.system.json_files import load_json

__all__ = ["ChannelRules", "channel_rules"]


@dataclass(frozen=True)
class ChannelRules:
    """The series that each channel takes.

    Args:
        patterns: By channel, in order; one of them has to match. None means any series.
    """

    patterns: Mapping[str, tuple[str, ...]]

    def channels_of(self, head: SeriesHead) -> list[str]:
        """Return the channels that a series is for."""
        return [
            channel
            for channel, patterns in self.patterns.items()
            if not patterns or any(_matches(pattern, head) for pattern in patterns)
        ]

    def asked(self, channel: str) -> str:
        """Return what a channel was asked to take, as text."""
        return " or ".join(self.patterns[channel]) or "any series"


def _matches(pattern: str, head: SeriesHead) -> bool:
    """Compare with UID and modality, and with the description, where * stands for anything."""
    folded = pattern.casefold()
    return (
        pattern == head.uid
        or folded == head.modality.casefold()
        or fnmatchcase(head.description.casefold(), folded)
    )


def channel_rules(given: Sequence[str], channels: Sequence[str]) -> ChannelRules:
    """Read `--series`.

    Args:
        given: For a model of one channel, UIDs or descriptions; for more, `CHANNEL=` and one of
            these for each channel; or a JSON file of a mapping from channels to one or a list.
        channels: The names of the model's channels, in order.

    Raises:
        DatasetError: If it cannot be understood, or a channel has none.
    """
    patterns: dict[str, tuple[str, ...]] = dict.fromkeys(channels, ())
    for channel, pattern in _pairs(given, channels):
        if channel not in patterns:
            msg = f"--series {channel}={pattern}: the channels are {', '.join(channels)}"
            raise DatasetError(msg)
        patterns[channel] += (pattern,)
    without = [channel for channel in channels if not patterns[channel]]
    if without and len(channels) > 1:
        msg = (
            f"say which series is channel {without[0]}, by UID, description or modality: --series "
            + " ".join(f"'{channel}=...'" for channel in channels)
        )
        raise DatasetError(msg)
    return ChannelRules(patterns)


def _pairs(given: Sequence[str], channels: Sequence[str]) -> Iterable[tuple[str, str]]:
    for text in given:
        if text.endswith(".json") and Path(text).is_file():
            yield from _pairs_of_file(Path(text))
            continue
        channel, sign, pattern = text.partition("=")
        if sign and channel in channels:
            yield channel, pattern
        elif len(channels) == 1:
            yield channels[0], text
        else:
            msg = f"--series {text}: give it as CHANNEL={text}; channels: {', '.join(channels)}"
            raise DatasetError(msg)


def _pairs_of_file(path: Path) -> Iterable[tuple[str, str]]:
    for channel, value in load_json(path).items():
        patterns = value if isinstance(value, list) else [value]
        if not all(isinstance(pattern, str) for pattern in patterns):
            msg = f"{path}: channel {channel} is not a text or a list of texts"
            raise DatasetError(msg)
        for pattern in patterns:
            yield channel, pattern
