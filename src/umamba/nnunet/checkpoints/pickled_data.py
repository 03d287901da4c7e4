"""Read plain data from a pickle, which is a program, by an interpreter that can do nothing else.

It knows the few instructions that `torch.save` uses, and calls only our own functions to which the
caller gives names. What it does is counted, so that a small program cannot run for long.
"""

import pickletools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from umamba.errors import quoted

__all__ = ["PLAIN_NAMES", "ForeignContentError", "Function", "check_plain", "refuse", "run_pickle"]

_MOST_VALUES = 2_000_000
# Instructions, and values and letters in arguments of functions: this many, and one for every byte.
_MOST_WORK = 1_000_000
# Who knows how numbers are hashed makes dictionaries of them as slow as lists; texts are salted.
_MOST_OTHER_KEYS = 10_000  # with their parts
_MOST_NESTED = 100
_NUMPY_DTYPES = frozenset(["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"])
_BYTE_ORDERS = ("<", ">", "=", "|")
_KEYS: tuple[type, ...] = (str, int, float, bytes, type(None))
_COUNTED = (str, bytes, dict, list, tuple, set)
_LEAVES: tuple[type, ...] = (*_KEYS, np.generic)

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, type] = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_PUSHED = frozenset(
    ("BINFLOAT", "BININT", "BININT1", "BININT2", "BINUNICODE", "LONG1", "SHORT_BINUNICODE")
)


class ForeignContentError(Exception):
    """The error of a file with contents that `torch.save` does not write for plain data."""


def refuse(what: str) -> NoReturn:
    """Give up on a file.

    Raises:
        ForeignContentError: Always.
    """
    raise ForeignContentError(what)


@dataclass(frozen=True)
class Function:
    """Our function that a name in a pickle stands for.

    Attributes:
        call: The function.
        takes_keys: Whether its argument is a list of values that become keys.
    """

    call: Callable[..., Any]
    takes_keys: bool = False


@dataclass
class _NumpyDtype:
    """The type of a numpy scalar in a pickle: its kind, and the order of its bytes."""

    name: str
    order: str = "="


def run_pickle(
    program: bytes, names: Mapping[str, Any], load_persistent: Callable[[Any], Any]
) -> Any:
    """Run a pickle.

    Args:
        program: The pickle.
        names: Objects by `module name`; a `Function` may be called.
        load_persistent: Returns the object of a persistent identifier.

    Returns:
        Its result; `check_plain` tells whether that is plain data.

    Raises:
        ForeignContentError: If it does anything but build plain data.
        ValueError, LookupError, TypeError, ArithmeticError: If it is damaged.
    """
    machine = _Machine(names, load_persistent, _MOST_WORK + len(program))
    for opcode, argument, _ in pickletools.genops(program):
        machine.step(opcode.name, argument)
    (content,) = machine.stack
    return content


class _Machine:
    def __init__(
        self, names: Mapping[str, Any], load_persistent: Callable[[Any], Any], most_work: int
    ) -> None:
        self.names = names
        self.load_persistent = load_persistent
        self.work_left = most_work
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # what was on the stack at each mark
        self.memo: dict[int, Any] = {}
        self.other_keys = 0
        self.composed: dict[str, Callable[[], None]] = {
            "APPEND": lambda: self._extend(self._pop(1)),
            "APPENDS": lambda: self._extend(self._pop_mark()),
            "BINPERSID": lambda: self.stack.append(self.load_persistent(self.stack.pop())),
            "BUILD": self._build,
            "MARK": self._mark,
            "REDUCE": self._reduce,
            "SETITEM": lambda: self._set_items(self._pop(2)),
            "SETITEMS": lambda: self._set_items(self._pop_mark()),
            "TUPLE": lambda: self._push_tuple(self._pop_mark()),
        }

    def step(self, name: str, argument: Any) -> None:
        self._count_work(1)
        if name in _PUSHED:
            self.stack.append(argument)
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            self._push_tuple(self._pop(_TUPLES[name]))
        elif name == "GLOBAL":
            self._push_named(argument)
        elif name in self.composed:
            self.composed[name]()
        elif name not in ("PROTO", "STOP"):
            refuse(f"unsupported instruction {name}")

    def _count_work(self, amount: int) -> None:
        self.work_left -= amount
        if self.work_left < 0:
            refuse("it takes too long to read")

    def _pop(self, count: int) -> list[Any]:
        values = self.stack[-count:]
        if len(values) < count:
            refuse("it takes more than it has")
        del self.stack[-count:]
        return values

    def _mark(self) -> None:
        self.outer.append(self.stack)
        self.stack = []

    def _pop_mark(self) -> list[Any]:
        values, self.stack = self.stack, self.outer.pop()
        return values

    def _push_tuple(self, values: list[Any]) -> None:
        self.stack.append(tuple(values))

    def _extend(self, values: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            refuse("it appends to what is not a list")
        self.stack[-1].extend(values)

    def _set_items(self, values: list[Any]) -> None:
        if type(self.stack[-1]) not in (dict, OrderedDict):
            refuse("it sets entries of what is not a dictionary")
        self._check_keys(values[::2])
        self.stack[-1].update(zip(values[::2], values[1::2], strict=True))

    def _check_keys(self, keys: Any) -> None:
        """Check that keys are plain: looking for a deeply nested one crashes the interpreter."""
        if type(keys) not in (list, tuple):
            refuse("it has a set of what is not a list")
        for key in keys:
            if type(key) is not str:
                parts = key if type(key) is tuple else (key,)
                self.other_keys += len(parts) + 1
                if self.other_keys > _MOST_OTHER_KEYS:
                    refuse("too many of its keys are not texts")
                if not all(isinstance(part, _KEYS) for part in parts):
                    refuse(f"it has a key that is a {type(key).__name__}")

    def _push_named(self, argument: str) -> None:
        name = argument.replace("builtins ", "__builtin__ ", 1)
        if name not in self.names:
            refuse(f"unsupported GLOBAL {argument.replace(' ', '.')!r:.100}")
        self.stack.append(self.names[name])

    def _reduce(self) -> None:
        function, arguments = self._pop(2)
        if type(function) is not Function or type(arguments) is not tuple:
            refuse("it calls what is not a function")
        self._count_work(sum(len(given) for given in arguments if isinstance(given, _COUNTED)))
        if function.takes_keys:
            self._check_keys(*(arguments or ((),)))
        self.stack.append(function.call(*arguments))

    def _build(self) -> None:
        """Apply the state of a numpy type, or of a network's weights."""
        target, state = self._pop(2)
        if type(target) is _NumpyDtype and type(state) is tuple and state[1] in _BYTE_ORDERS:
            target.order = state[1]
        elif type(target) is OrderedDict and type(state) is dict and set(state) == {"_metadata"}:
            vars(target).update(state)  # versions of modules, for `load_state_dict`
        else:
            refuse("it changes an object by its state")
        self.stack.append(target)


def _encode(text: Any, encoding: Any) -> bytes:
    """Return bytes, which old pickles hold as text; other codecs can take minutes."""
    if type(text) is not str or encoding != "latin1":
        refuse(f"it encodes text as {quoted(encoding)}")
    return text.encode("latin1")


def _empty_bytes() -> bytes:
    return b""


def _ordered_dict() -> OrderedDict[Any, Any]:
    return OrderedDict()


def _numpy_dtype(name: Any, *_: Any) -> _NumpyDtype:
    if type(name) is not str or name not in _NUMPY_DTYPES:
        refuse(f"it has numpy values of type {quoted(name)}")
    return _NumpyDtype(name)


def _numpy_scalar(dtype: Any, content: Any) -> Any:
    if type(dtype) is not _NumpyDtype or type(content) is not bytes:
        refuse("it has a numpy value without type or content")
    order = "<" if dtype.order == "|" else dtype.order  # of a single byte
    (value,) = np.frombuffer(content, np.dtype(f"{order}{dtype.name}"))
    return value


PLAIN_NAMES = {
    "__builtin__ bytes": Function(_empty_bytes),
    "__builtin__ set": Function(set, takes_keys=True),
    "_codecs encode": Function(_encode),
    "collections OrderedDict": Function(_ordered_dict),
    "numpy dtype": Function(_numpy_dtype),
    "numpy.core.multiarray scalar": Function(_numpy_scalar),
    "numpy._core.multiarray scalar": Function(_numpy_scalar),  # since numpy 2
}


def check_plain(content: Any, leaves: tuple[type, ...] = ()) -> None:
    """Check that all values are plain, and that there are not more of them than it seems.

    A list that holds another one twice, which holds another one twice, and so on, seems small.

    Args:
        content: The result of a pickle.
        leaves: Types that are allowed besides numbers, texts and numpy scalars.

    Raises:
        ForeignContentError: If not, or if values are nested too deeply.
    """
    _Extents((*_LEAVES, *leaves)).measure(content, 0)


class _Extents:
    """Values within values, counted as often as they are held, though each is looked at once."""

    def __init__(self, plain: tuple[type, ...]) -> None:
        self.plain = plain
        self.known: dict[int, tuple[int, int]] = {}  # by the id of what holds them

    def measure(self, value: Any, depth: int) -> tuple[int, int]:
        """Return how many values are in a value, and how deeply they are nested.

        Args:
            value: The value.
            depth: How many others it is in.

        Raises:
            ForeignContentError: If these are too many or too deep, or one is not plain.
        """
        if isinstance(value, self.plain):
            return 0, 0
        if not isinstance(value, (dict, list, tuple, set)):
            refuse(f"it has a {type(value).__name__}")
        extent = self.known.get(id(value), (0, 0))
        if id(value) not in self.known and depth <= _MOST_NESTED:
            self.known[id(value)] = _MOST_VALUES + 1, 0  # until it is known: it may hold itself
            count, nested = len(value), 0
            for inner in value.values() if isinstance(value, dict) else value:
                more, below = self.measure(inner, depth + 1)
                count, nested = count + more, max(nested, below + 1)
            extent = self.known[id(value)] = count, nested
        if extent[0] > _MOST_VALUES or depth + extent[1] > _MOST_NESTED:
            refuse("its values are nested too deeply, or too many")
        return extent
