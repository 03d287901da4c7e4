"""Find images and masks in folders, and pair them into cases by their names."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from umamba.datasets.checks import Case, Problem, short
from umamba.errors import DatasetError
from umamba.images.file_names import ENDINGS, is_image, split_ending, visible_files, why_no_case
from umamba.system.path_names import listed, shown

__all__ = ["FileNaming", "FoundCases", "find_cases", "other_files"]

_NUMBERED = re.compile(r"_(\d{4})\Z", re.ASCII)


@dataclass(frozen=True)
class FileNaming:
    """The parts of file names that tell cases and channels apart.

    Args:
        channels: Names in order, each with the suffix of its files; suffix "" for all means
            that channels are numbered (`_0000`) or share one file.
        image_suffix: The text that follows the case (and channel) in the name of an image.
        mask_suffix: The text that follows the case in the name of a mask.

    Raises:
        DatasetError: If some channels have a suffix and others have none.
    """

    channels: tuple[tuple[str, str], ...] = ()
    image_suffix: str = ""
    mask_suffix: str = ""

    def __post_init__(self) -> None:
        suffixes = self.suffixes
        if any(suffixes) and (not all(suffixes) or len(set(suffixes)) < len(suffixes)):
            msg = "--channels: give every channel a suffix of its own, as in T1=_t1 T2=_t2, or none"
            raise DatasetError(msg)

    @property
    def suffixes(self) -> tuple[str, ...]:
        """The suffix of each channel, in order."""
        return tuple(suffix for _, suffix in self.channels)

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each channel, in order."""
        return tuple(name for name, _ in self.channels)


@dataclass(frozen=True)
class FoundCases:
    """Complete cases, the problems of incomplete ones, and files that are not images."""

    cases: tuple[Case, ...]
    problems: tuple[Problem, ...]
    others: tuple[Path, ...]


# Case, then channel ("" if it has none), then the files that claim to be it.
_Found = dict[str, dict[str, list[Path]]]


def find_cases(images: Path, masks: Path, naming: FileNaming) -> FoundCases:
    """Pair all images below one folder with all masks below another (or the same) one.

    A case is named after its file without suffix and ending; where nothing is left, as in
    `patient7/image.nii.gz` with suffix `image`, after its folder.

    Args:
        images: Folder of images, searched with its subfolders.
        masks: Folder of masks, searched with its subfolders.
        naming: The parts of the names.

    Returns:
        The cases in alphabetical order, and the problems.

    Raises:
        DatasetError: If a folder is missing or holds no image, or no image has a mask.
    """
    image_files, mask_files = _candidates(images, masks, naming)
    mask_table = _group(mask_files, naming.mask_suffix, ("",))
    suffixes = _channel_suffixes(image_files, naming, mask_table)
    image_table = _group(image_files, naming.image_suffix, suffixes)
    for table, folder, kind in ((image_table, images, "image"), (mask_table, masks, "mask")):
        if not table:
            raise DatasetError(_no_files_message(folder, kind, naming))
    if not image_table.keys() & mask_table.keys():
        raise DatasetError(_no_pair_message(image_table, mask_table))
    cases, problems = _pair(image_table, mask_table, suffixes)
    problems = [*_unpaired(image_table, mask_table, images, masks), *problems]
    used = _paths(image_table) | _paths(mask_table)
    rest = sorted({*image_files, *mask_files} - used)
    problems += _left_out([path for path in rest if is_image(path)])
    others = tuple(path for path in rest if not is_image(path))
    return FoundCases(tuple(cases), tuple(problems), others)


def other_files(files: Sequence[Path]) -> list[Problem]:
    """Warn of files that are not images, and that nobody expects to be used."""
    if not files:
        return []
    noun = "1 file is" if len(files) == 1 else f"{len(files)} files are"
    text = f"{noun} not an image by name: {listed(map(short, files))}"
    return [Problem("", None, text, "nothing is taken from there", "warning")]


def _candidates(images: Path, masks: Path, naming: FileNaming) -> tuple[list[Path], list[Path]]:
    """List the files that may be images and those that may be masks."""
    for folder, option in ((images, "--images"), (masks, "--masks")):
        if not folder.is_dir():
            msg = f"{option} {folder}: there is no such folder"
            raise DatasetError(msg)
    image_files, mask_files = _files(images), _files(masks)
    if images.resolve() == masks.resolve():
        if not (naming.mask_suffix or naming.image_suffix or any(naming.suffixes)):
            msg = (
                f"images and masks share the folder {images}: tell them apart with "
                "--mask-suffix, e.g. --mask-suffix _seg"
            )
            raise DatasetError(msg)
    elif images.resolve() in masks.resolve().parents:
        image_files = [f for f in image_files if masks.resolve() not in f.resolve().parents]
    elif masks.resolve() in images.resolve().parents:
        mask_files = [f for f in mask_files if images.resolve() not in f.resolve().parents]
    if naming.mask_suffix:
        own = {f for f in mask_files if split_ending(f)[0].endswith(naming.mask_suffix)}
        image_files = [f for f in image_files if f not in own]
    else:
        wanted = tuple(s + naming.image_suffix for s in naming.suffixes or ("",))
        own = {f for f in image_files if split_ending(f)[0].endswith(wanted)}
        mask_files = [f for f in mask_files if f not in own]
    return image_files, mask_files


def _files(folder: Path) -> list[Path]:
    return visible_files(folder, deep=True)


def _group(files: Iterable[Path], suffix: str, channels: Sequence[str]) -> _Found:
    """Sort files by case and channel; longer channel suffixes win over shorter ones."""
    table: _Found = defaultdict(lambda: defaultdict(list))
    for path in files:
        stem, ending = split_ending(path)
        if not ending or not stem.endswith(suffix):
            continue
        stem = stem[: len(stem) - len(suffix)]
        for channel in sorted(channels, key=len, reverse=True):
            if stem.endswith(channel):
                case_id = stem[: len(stem) - len(channel)] or path.parent.name
                table[case_id][channel].append(path)
                break
    return table


def _channel_suffixes(
    image_files: Iterable[Path], naming: FileNaming, mask_table: _Found
) -> tuple[str, ...]:
    """Return the suffix of every channel: given, or numbered as nnU-Net does, or none.

    Numbers are taken for channels only if all images have them and no mask has the name of an
    image, number included: in that case `patient_0001` is a case.
    """
    if any(naming.suffixes):
        return naming.suffixes
    stems = [
        stem[: len(stem) - len(naming.image_suffix)]
        for stem, ending in map(split_ending, image_files)
        if ending and stem.endswith(naming.image_suffix)
    ]
    numbers = [_NUMBERED.search(stem) for stem in stems]
    if not stems or not all(numbers) or mask_table.keys() & set(stems):
        return ("",)
    return tuple(sorted({match.group() for match in numbers if match}))


def _pair(
    image_table: _Found, mask_table: _Found, suffixes: Sequence[str]
) -> tuple[list[Case], list[Problem]]:
    cases, problems = [], []
    for case_id in sorted(image_table.keys() & mask_table.keys()):
        channels, masks = image_table[case_id], mask_table[case_id][""]
        found = _check_name(case_id, masks[0]) or _check_case(case_id, channels, masks, suffixes)
        if found:
            problems += found
        else:
            files = tuple(channels[suffix][0] for suffix in suffixes)
            cases.append(Case(case_id, files, masks[0]))
    return cases, problems


def _paths(table: _Found) -> set[Path]:
    return {path for channels in table.values() for files in channels.values() for path in files}


def _unpaired(image_table: _Found, mask_table: _Found, images: Path, masks: Path) -> list[Problem]:
    problems = []
    for case_id in sorted(image_table.keys() - mask_table.keys()):
        file = min(_paths({case_id: image_table[case_id]}))
        fix = f"add a mask named {shown(case_id)} to {masks}, or remove the image"
        problems.append(Problem(shown(case_id), file, "the image has no mask", fix))
    for case_id in sorted(mask_table.keys() - image_table.keys()):
        file = min(_paths({case_id: mask_table[case_id]}))
        fix = f"add an image named {shown(case_id)} to {images}, or remove the mask"
        problems.append(Problem(shown(case_id), file, "the mask has no image", fix))
    return problems


def _check_name(case_id: str, mask: Path) -> list[Problem]:
    """Refuse a name that nnU-Net cannot give to files."""
    reason = why_no_case(case_id)
    return [Problem(shown(case_id), mask, reason, "rename its files")] if reason else []


def _check_case(
    case_id: str, channels: dict[str, list[Path]], masks: list[Path], suffixes: Sequence[str]
) -> list[Problem]:
    problems = [
        Problem(
            case_id,
            min(_paths({case_id: channels})),
            f"channel {suffix} is missing",
            f"add the file {case_id}{suffix}, or remove the case",
        )
        for suffix in suffixes
        if suffix not in channels
    ]
    for files, kind in [*((files, "image") for files in channels.values()), (masks, "mask")]:
        if len(files) > 1:
            others = listed(files)
            text = f"{len(files)} files claim to be this {kind}: {others}"
            fix = (
                "keep one; or, if the folders have the names of the cases, give the file's name as "
                f"--{kind}-suffix"
            )
            problems.append(Problem(case_id, files[0], text, fix))
    return problems


def _left_out(images: Sequence[Path]) -> list[Problem]:
    """Warn of images that fit no pattern, or that nnU-Net does not read."""
    unread = [path for path in images if not split_ending(path)[1]]
    unnamed = [path for path in images if split_ending(path)[1]]
    found = (
        (unread, f"not read; if you need them, convert them to one of {' '.join(ENDINGS)}"),
        (unnamed, "named neither like images nor like masks; if you need them, check the suffixes"),
    )
    return [
        Problem("", None, f"left out: {listed(map(short, files))}", f"they are {fix}", "warning")
        for files, fix in found
        if files
    ]


def _no_files_message(folder: Path, kind: str, naming: FileNaming) -> str:
    endings = Counter(split_ending(f)[1] or f.suffix.lower() for f in _files(folder))
    found = ", ".join(f"{n} {ending or 'without ending'}" for ending, n in endings.most_common(4))
    lossy = {".jpg", ".jpeg"} & endings.keys()
    remark = (
        " nnU-Net does not read JPEG, whose lossy compression ruins masks: convert to PNG."
        if lossy
        else ""
    )
    suffix = naming.mask_suffix if kind == "mask" else naming.image_suffix
    named = f" named *{suffix}" if suffix else ""
    if kind == "image" and any(naming.suffixes):
        named = f" named *{' or *'.join(s + naming.image_suffix for s in naming.suffixes)}"
    return (
        f"there is no {kind}{named} in {folder} (found: {found or 'nothing'}); "
        f"these are read: {' '.join(ENDINGS)}.{remark}"
    )


def _no_pair_message(image_table: _Found, mask_table: _Found) -> str:
    """Say how images and masks are named, and guess the suffixes that would pair them."""
    image, mask = min(image_table), min(mask_table)
    n_equal = sum(1 for n in range(1, len(image) + 1) if mask.startswith(image[:n]))
    prefix = image[:n_equal]
    image_rest, mask_rest = image[len(prefix) :], mask[len(prefix) :]
    options = []
    if prefix and image_rest:
        options.append(f"--image-suffix={image_rest}")
    if prefix and mask_rest:
        options.append(f"--mask-suffix={mask_rest}")
    n_pairs = len(_stripped(image_table, image_rest) & _stripped(mask_table, mask_rest))
    guess = f"; {' '.join(options)} would pair {n_pairs} cases" if options else ""
    return (
        f"no mask belongs to an image: images are named like {image}, masks like {mask}; say what "
        f"follows the case in their names with --image-suffix or --mask-suffix{guess}"
    )


def _stripped(table: _Found, suffix: str) -> set[str]:
    return {name[: len(name) - len(suffix)] for name in table if name.endswith(suffix)}
