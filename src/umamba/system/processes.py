"""Worker processes: they end with the process that they work for, and leave signals to it."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Container
from multiprocessing.process import BaseProcess

__all__ = [
    "become_pool_worker",
    "become_worker",
    "end_with_parent",
    "kill_children",
    "stop_with_parent",
]

_SECONDS_BETWEEN_LOOKS = 1.0


def end_with_parent() -> None:
    """End this worker when its parent is gone, as a killed parent cannot ask it to end."""
    _watch_parent(lambda: os._exit(1))


def stop_with_parent() -> None:
    """Ask this process to stop, as by SIGTERM, when its parent is gone."""
    _watch_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))


def become_pool_worker() -> None:
    """Work in one of nnU-Net's pools, which end their workers by SIGTERM."""
    _ignore("SIGINT", "SIGHUP", "SIGUSR1")
    end_with_parent()


def become_worker() -> None:
    """Work for a parent that ends its workers by a message, or kills them.

    Users, terminals and schedulers signal all processes of a command, but the parent needs its
    workers until it has ended itself. One that dies of the signal may keep the lock of a queue,
    for which the parent would wait forever.
    """
    _ignore("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    end_with_parent()


def _ignore(*names: str) -> None:
    for name in names:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def kill_children(but: Container[BaseProcess] = ()) -> None:
    """Kill the processes that multiprocessing has started here, except some."""
    for child in multiprocessing.active_children():
        if child not in but:
            child.kill()


def _watch_parent(act: Callable[[], object]) -> None:
    threading.Thread(target=_act_without, args=(os.getppid(), act), daemon=True).start()


def _act_without(parent_id: int, act: Callable[[], object]) -> None:
    while os.getppid() == parent_id:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():  # Windows does not forget a dead parent
            break
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    act()
