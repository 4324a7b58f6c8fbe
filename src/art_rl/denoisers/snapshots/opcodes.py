"""An interpreter of pickle opcodes that can only build plain values and our own stand-ins.

Python's ``pickle`` module is not used: its loader imports whatever a file names and calls it.  Here
the stream is cut into opcodes by ``pickletools`` (which imports nothing and calls nothing), a short
list of opcodes is carried out on an ordinary list, and every global the file names is looked up in a
table of stand-ins.  A stand-in is data with functions of ours attached; no object of the file can add
to the table, and no name is ever imported.  What is not on the lists is refused by name.

Cost is bounded: one pass over the file, at most MAX_OPCODES opcodes, no recursion, dictionary keys
and set items restricted to short strings and small integers (see ``_check_key``).
"""

import pickletools
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, NoReturn, Protocol, cast

from art_rl.errors import ArtRLError

MAX_OPCODES = 1_000_000  # the largest released EDM network takes about 60,000
MAX_STACK = 100_000  # values waiting on one stack; picklers batch containers by 1,000
MAX_MARKS = 1_000  # nesting of open containers; released files stay below 30
MAX_KEY_LENGTH = 1_000  # characters of a dictionary key or set item; official ones stay below 50
MAX_KEY_INTEGER = 1 << 16  # official files use no integers as keys at all


class Stream(Protocol):
    """What ``pickletools`` reads from: a binary file, an mmap or a BytesIO."""

    def read(self, n: int) -> bytes:
        """At most ``n`` bytes."""

    def readline(self) -> bytes:
        """Bytes up to and with the next newline."""

    def tell(self) -> int:
        """Position in the stream."""


@dataclass(frozen=True)
class StandIn:
    """What a permitted global name becomes.

    ``call`` replaces calling it (opcode REDUCE), ``create`` replaces making an instance (NEWOBJ);
    each takes the tuple of arguments.  A stand-in without them cannot be called or instantiated.
    """

    name: str
    call: Callable[[tuple], Any] | None = None
    create: Callable[[tuple], Any] | None = None


class Buildable:
    """A value that accepts the opcode BUILD; ``build`` checks the state instead of setting attributes."""

    def build(self, state: Any) -> None:
        """Take the state of BUILD, or `refuse` it."""
        raise NotImplementedError


class Refusal(Exception):
    """Raised while reading; becomes an ArtRLError that names the file."""


def refuse(reason: str) -> NoReturn:
    """Stop reading; ``reason`` completes the sentence "<file>: refused, ..."."""
    raise Refusal(reason)


def describe(value: Any) -> str:
    """A short name of a value of the file for messages; never walks into containers."""
    if isinstance(value, StandIn):
        return value.name
    if isinstance(value, str | int | float | None):
        return f"{value!r:.80}" if not isinstance(value, int) or abs(value) < 1 << 64 else "an int"
    return f"a {type(value).__name__}"


def load(
    stream: Stream,
    stand_ins: Mapping[tuple[str, str], StandIn],
    persistent: Callable[[Any], Any] | None = None,
    max_opcodes: int = MAX_OPCODES,
) -> Any:
    """Read one pickle from ``stream``, leaving it after the STOP opcode.

    Args:
        stream: positioned at the start of a pickle; ``read(n)`` must return what is there when less
            than n bytes are left, without allocating n.
        stand_ins: (module, name) -> StandIn; every other global is refused.
        persistent: handles the opcode BINPERSID; without it the opcode is refused.
        max_opcodes: refuse a pickle that takes more.

    Raises:
        Refusal: anything not on the lists, or a stream that is damaged.
    """
    return _Interpreter(stand_ins, persistent).run(_opcodes(stream, max_opcodes))


def checked(source: Any, read: Callable[[], Any]) -> Any:
    """Return ``read()``; its refusals become ArtRLErrors that name ``source``."""
    try:
        return read()
    except Refusal as refusal:
        raise ArtRLError(f"{source}: refused, {refusal}") from None


def _opcodes(stream: Stream, limit: int) -> Iterator[tuple[str, Any]]:
    operations = pickletools.genops(cast(IO[bytes], stream))
    for _ in range(limit):
        try:
            opcode, argument, _ = next(operations)
        except StopIteration:
            return
        except (ValueError, struct.error, EOFError, OverflowError) as error:
            refuse(f"the pickle is damaged or truncated ({error!s:.120})")
        yield opcode.name, argument
    refuse(f"the pickle has more than {limit} opcodes")


# Opcodes whose argument is the value itself.
_PUSH_ARGUMENT = frozenset(
    "BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
    "BINBYTES SHORT_BINBYTES BINBYTES8".split()
)
_PUSH_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_SET": set,
    "EMPTY_TUPLE": tuple,
}


class _Interpreter:
    def __init__(
        self, stand_ins: Mapping[tuple[str, str], StandIn], persistent: Callable[[Any], Any] | None
    ) -> None:
        self.stand_ins = stand_ins
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []  # stacks below each open MARK
        self.memo: dict[int, Any] = {}

    def run(self, opcodes: Iterator[tuple[str, Any]]) -> Any:
        for name, argument in opcodes:
            if name == "STOP":
                result = self.pop()
                if self.stack or self.marks:
                    refuse("the pickle is damaged: it stops with values left over")
                return result
            if name in _PUSH_ARGUMENT:
                self.push(argument)
            elif name in _PUSH_NEW:
                self.push(_PUSH_NEW[name]())
            elif name in ("MEMOIZE", "BINPUT", "LONG_BINPUT"):
                index = len(self.memo) if name == "MEMOIZE" else argument
                # Picklers count from 0; freely chosen indices could be made to collide in the memo.
                if index >= MAX_OPCODES:
                    refuse(f"it uses the memo entry {index}, readable are {MAX_OPCODES}")
                self.memo[index] = self.top()
            elif name in ("BINGET", "LONG_BINGET"):
                if argument not in self.memo:
                    refuse(f"the pickle is damaged: memo entry {argument} does not exist")
                self.push(self.memo[argument])
            elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
                items = [self.pop() for _ in range(int(name[-1]))]
                self.push(tuple(reversed(items)))
            else:
                handler = getattr(self, f"op_{name}", None)
                if handler is None:
                    refuse(f"it uses the pickle opcode {name}, which an EDM snapshot does not need")
                handler(argument)
        refuse("the pickle is truncated: it has no STOP")

    # --- the stack ---------------------------------------------------------------------------
    def push(self, value: Any) -> None:
        if len(self.stack) >= MAX_STACK:
            refuse(f"the pickle keeps more than {MAX_STACK} values waiting")
        self.stack.append(value)

    def top(self) -> Any:
        if not self.stack:
            refuse("the pickle is damaged: a value is missing")
        return self.stack[-1]

    def pop(self) -> Any:
        self.top()
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            refuse("the pickle is damaged: a MARK is missing")
        items, self.stack = self.stack, self.marks.pop()
        return items

    # --- opcodes -----------------------------------------------------------------------------
    def op_PROTO(self, version: int) -> None:
        if not 2 <= version <= 5:
            refuse(f"it is written in pickle protocol {version}, readable are 2 to 5")

    def op_FRAME(self, _: int) -> None:
        pass  # a hint about buffering

    def op_MARK(self, _: None) -> None:
        if len(self.marks) >= MAX_MARKS:
            refuse(f"containers are nested more than {MAX_MARKS} deep")
        self.marks.append(self.stack)
        self.stack = []

    def op_TUPLE(self, _: None) -> None:
        self.push(tuple(self.pop_to_mark()))

    def op_APPEND(self, _: None) -> None:
        value = self.pop()
        self._extend([value])

    def op_APPENDS(self, _: None) -> None:
        self._extend(self.pop_to_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self.top()
        if type(target) is not list:
            refuse(f"it appends to {describe(target)}")
        target.extend(values)

    def op_SETITEM(self, _: None) -> None:
        value = self.pop()
        self._update([self.pop(), value])

    def op_SETITEMS(self, _: None) -> None:
        self._update(self.pop_to_mark())

    def _update(self, items: list[Any]) -> None:
        target = self.top()
        if not isinstance(target, dict):
            refuse(f"it sets items of {describe(target)}")
        if len(items) % 2:
            refuse("the pickle is damaged: a dictionary value is missing")
        for key, value in zip(items[::2], items[1::2], strict=True):
            target[_check_key(key)] = value

    def op_ADDITEMS(self, _: None) -> None:
        items = self.pop_to_mark()
        target = self.top()
        if type(target) is not set:
            refuse(f"it adds set items to {describe(target)}")
        target.update(_check_key(item) for item in items)

    def op_GLOBAL(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self._push_global(module, name)

    def op_STACK_GLOBAL(self, _: None) -> None:
        name, module = self.pop(), self.pop()
        self._push_global(module, name)

    def _push_global(self, module: Any, name: Any) -> None:
        if not isinstance(module, str) or not isinstance(name, str):
            refuse(f"a global is named by {describe(module)} and {describe(name)}, not by strings")
        stand_in = self.stand_ins.get((module, name))
        if stand_in is None:
            shown = repr(f"{module:.80}.{name:.80}")[1:-1]  # one line, whatever the name holds
            refuse(f"it asks for the global {shown}, which an EDM snapshot does not need")
        self.push(stand_in)

    def op_REDUCE(self, _: None) -> None:
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, StandIn) or function.call is None:
            refuse(f"it calls {describe(function)}")
        self.push(function.call(_check_arguments(function, arguments)))

    def op_NEWOBJ(self, _: None) -> None:
        arguments, cls = self.pop(), self.pop()
        if not isinstance(cls, StandIn) or cls.create is None:
            refuse(f"it makes an instance of {describe(cls)}")
        self.push(cls.create(_check_arguments(cls, arguments)))

    def op_BUILD(self, _: None) -> None:
        state = self.pop()
        target = self.top()
        if not isinstance(target, Buildable):
            refuse(f"it sets the attributes of {describe(target)} (opcode BUILD)")
        target.build(state)

    def op_BINPERSID(self, _: None) -> None:
        if self.persistent is None:
            refuse("it uses the pickle opcode BINPERSID outside a tensor storage")
        self.push(self.persistent(self.pop()))


def _check_key(key: Any) -> str | int:
    """Refuse keys that are slow to hash or to find.

    Nested tuples can take exponential time to hash.  Python's hashes of numbers are no secret, so many
    freely chosen ones can collide (all multiples of 2^61 - 1 hash to 0) and make a table quadratic;
    hashes of strings are random per process, but equal strings are compared character by character.
    """
    if not isinstance(key, str | int):
        refuse(f"a dictionary key or set item is {describe(key)}, not a string or an integer")
    if isinstance(key, str) and len(key) > MAX_KEY_LENGTH:
        refuse(f"a dictionary key or set item has {len(key)} characters, at most {MAX_KEY_LENGTH}")
    if isinstance(key, int) and abs(key) > MAX_KEY_INTEGER:
        refuse(
            f"a dictionary key or set item is {describe(key)}, at most {MAX_KEY_INTEGER} in size"
        )
    return key


def _check_arguments(function: StandIn, arguments: Any) -> tuple:
    if type(arguments) is not tuple:
        refuse(f"the arguments of {function.name} are {describe(arguments)}, not a tuple")
    return arguments
