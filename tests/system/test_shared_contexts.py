"""Contexts that change the whole process: threads that overlap leave no trace of them."""

import os
import sys
from contextlib import contextmanager

from umamba.images.volumes import silent_libraries
from umamba.system.shared_contexts import shared_by_threads
from umamba.system.terminal import hidden_stdout, talk_to_stderr


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


def test_standard_output_is_back_after_threads_that_loaded_models_at_once(capsys):
    before = sys.stdout
    first, second = [(talk_to_stderr(), hidden_stdout()) for _ in range(2)]
    for context in (first[0], second[0], first[1], second[1]):
        context.__enter__()
    sys.stdout.write("hidden\n")
    for context in (first[1], first[0], second[1]):
        context.__exit__(None, None, None)
    sys.stdout.write("talk\n")
    second[0].__exit__(None, None, None)
    sys.stdout.write("result\n")
    assert sys.stdout is before
    assert capsys.readouterr() == ("result\n", "talk\n")
