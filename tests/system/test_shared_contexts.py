"""Contexts that change the whole process: threads that overlap leave no trace of them."""

import os
from contextlib import contextmanager

from umamba.images.volumes import silent_libraries
from umamba.system.shared_contexts import shared_by_threads


def test_the_first_enters_and_the_last_leaves_in_whatever_order():
    said = []

    @shared_by_threads
    @contextmanager
    def context():
        said.append("in")
        yield
        said.append("out")

    for _ in range(2):
        first, second = context(), context()
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert said == ["in"]
        second.__exit__(None, None, None)
        assert said == ["in", "out"]
        said.clear()


def test_standard_error_is_back_after_contexts_that_overlapped(capfd):
    first, second = silent_libraries(), silent_libraries()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    os.write(2, b"hidden")
    second.__exit__(None, None, None)
    os.write(2, b"seen")
    assert capfd.readouterr().err == "seen"
