"""Work on one case while the next is read and the last is written; nothing here knows images."""

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["overlapped"]

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")
Result = TypeVar("Result")


def overlapped(
    items: Sequence[Item],
    read: Callable[[Item], Read],
    make: Callable[[Read], Made],
    write: Callable[[Made], Result],
    is_small: Callable[[Read], bool],
) -> Generator[Result, None, None]:
    """Yield the result of every item, in their order.

    `make` runs in the caller's thread, so that signals reach it. Memory holds three items at most;
    while one is worked on that is not small, nothing else is read or written. When the caller
    leaves early, or anything fails, what is being read and written comes to its end first.

    Args:
        items: The items.
        read: Reads an item.
        make: Works on what was read.
        write: Writes what was made, and returns the result.
        is_small: Tells whether others may be in memory beside what was read.
    """
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        ahead: Future[Read] | None = None
        behind: Future[Result] | None = None
        for number, item in enumerate(items):
            there = read(item) if ahead is None else ahead.result()
            small = is_small(there)
            follows = small and number + 1 < len(items)
            ahead = reader.submit(read, items[number + 1]) if follows else None
            if behind is not None and not small:
                yield behind.result()
                behind = None
            made = make(there)
            del there
            if behind is not None:
                yield behind.result()
            behind = writer.submit(write, made) if small else None
            if behind is None:
                yield write(made)
            del made
        if behind is not None:
            yield behind.result()
