"""Contexts that change something of the whole process, shared by the threads that need them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps

__all__ = ["shared_by_threads"]

Context = Callable[[], AbstractContextManager[None]]


def shared_by_threads(context: Context) -> Context:
    """Return a context that is entered by the first thread to need it, and left by the last.

    Contexts that save and restore a state of the process, each for itself, restore the wrong one
    where threads overlap.
    """
    lock, entered = threading.Lock(), ExitStack()
    n_inside = 0

    @wraps(context)
    @contextmanager
    def shared() -> Iterator[None]:
        nonlocal n_inside
        with lock:
            if n_inside == 0:
                entered.enter_context(context())
            n_inside += 1
        try:
            yield
        finally:
            with lock:
                n_inside -= 1
                if n_inside == 0:
                    entered.close()

    return shared
