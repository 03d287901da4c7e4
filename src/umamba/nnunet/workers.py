"""Worker processes: they end with the process that they work for, and leave signals to it."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Container
from multiprocessing.process import BaseProcess

__all__ = [
    "become_augmenter",
    "become_pool_worker",
    "end_with_parent",
    "kill_children",
    "leave_signals_to_parent",
    "stop_with_parent",
]

_SECONDS_BETWEEN_LOOKS = 1.0


def end_with_parent() -> None:
    """End this worker when its parent is gone: one that was killed cannot tell it to."""
    _watch_parent(lambda: os._exit(1))


def stop_with_parent() -> None:
    """Ask this process to stop, as by SIGTERM, when its parent is gone."""
    _watch_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))


def leave_signals_to_parent() -> None:
    """Ignore what users, terminals and schedulers send to all processes of a command.

    The parent needs its workers until it has found an end, and ends them then. One that dies of
    the signal may take the lock of a queue with it, for which the parent would wait forever.
    """
    for name in ("SIGINT", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def become_pool_worker() -> None:
    """Work in one of nnU-Net's pools, which end their workers by SIGTERM."""
    leave_signals_to_parent()
    # Unwinding gives back the locks of queues; the default action does not.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    end_with_parent()


def become_augmenter() -> None:
    """Make batches for a training, which needs them after a signal, too, for the step at hand.

    The first SIGTERM is taken for one that all processes got; the parent repeats it if need be.
    """
    if multiprocessing.parent_process() is None:  # no worker: batches are made in the training
        return
    leave_signals_to_parent()
    signal.signal(signal.SIGTERM, lambda number, _: signal.signal(number, signal.SIG_DFL))
    end_with_parent()


def kill_children(but: Container[BaseProcess] = ()) -> None:
    """Kill the processes that multiprocessing has begun here, but for some."""
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
