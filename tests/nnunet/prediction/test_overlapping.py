"""Reading and writing beside the work, in order and within bounds."""

import threading
from contextlib import closing

import pytest

from umamba.nnunet.prediction.overlapping import overlapped


def test_results_come_in_order_and_the_work_stays_in_the_callers_thread() -> None:
    threads: dict[str, set[int]] = {"read": set(), "make": set(), "write": set()}

    def stage(name: str, value: int) -> int:
        threads[name].add(threading.get_ident())
        return value + 1

    stages = (lambda x, name=name: stage(name, x) for name in threads)
    assert list(overlapped(range(9), *stages, lambda _: True)) == [x + 3 for x in range(9)]
    assert threads["make"] == {threading.get_ident()}
    assert not threads["write"] & (threads["make"] | threads["read"])


def test_the_next_is_read_and_the_last_written_meanwhile() -> None:
    """Would wait for long if one came after the other."""
    read = [threading.Event() for _ in range(3)]
    made = [threading.Event() for _ in range(3)]

    def begin(number: int) -> int:
        read[number].set()
        return number

    def make(number: int) -> int:
        assert number == 2 or read[number + 1].wait(20)
        made[number].set()
        return number

    def write(number: int) -> int:
        assert number == 2 or made[number + 1].wait(20)
        return number

    assert list(overlapped(range(3), begin, make, write, lambda _: True)) == [0, 1, 2]


@pytest.mark.parametrize("large", [{0}, {1}, {2}, {0, 1, 2}])
def test_nothing_is_worked_on_beside_what_is_large(large: set[int]) -> None:
    there: set[int] = set()

    def read(number: int) -> int:
        there.add(number)
        return number

    def make(number: int) -> int:
        assert number not in large or there == {number}
        return number

    def write(number: int) -> int:
        assert number not in large or there == {number}
        there.discard(number)
        return number

    got = list(overlapped(range(3), read, make, write, lambda number: number not in large))
    assert got == [0, 1, 2]


@pytest.mark.parametrize("stage", ["read", "make", "write"])
def test_failures_arrive_and_end_the_work(stage: str) -> None:
    begun: list[int] = []

    def done(name: str, number: int) -> int:
        if name == "make":
            begun.append(number)
        if name == stage and number == 1:
            raise OSError(name)
        return number

    stages = (lambda x, name=name: done(name, x) for name in ("read", "make", "write"))
    with pytest.raises(OSError, match=stage):
        list(overlapped(range(9), *stages, lambda _: True))
    assert len(begun) <= 4


def test_leaving_early_waits_for_what_is_being_written() -> None:
    written: list[int] = []
    gate = threading.Event()

    def write(number: int) -> int:
        assert number == 0 or gate.wait(20)
        written.append(number)
        return number

    with closing(overlapped(range(9), int, int, write, lambda _: True)) as results:
        assert next(results) == 0
        threading.Timer(0.1, gate.set).start()
    assert written[0] == 0
    assert len(written) <= 2
