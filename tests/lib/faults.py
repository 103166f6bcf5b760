"""faults.c: allocations of the core that fail, and a kernel that says what the test says."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lib.ncf import Core

# The call, and for sendto() what is sent.  Bytes for recv() to give, an errno, or None: go on.
Answer = Callable[[str, bytes], "bytes | int | None"]

Hook = ctypes.CFUNCTYPE(ctypes.c_ssize_t, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t)


class Memory:
    """A block in which the k-th allocation fails, or it and all later ones."""

    def __init__(self, core: Core, k: int, lasting: bool = False) -> None:
        self.lib, self.k, self.lasting = core.lib, k, lasting
        self.lib.faults_memory.restype = ctypes.c_long

    def __enter__(self) -> Memory:
        self.lib.faults_memory(ctypes.c_long(self.k), self.lasting)
        return self

    def __exit__(self, *_: object) -> None:
        self.count = int(self.lib.faults_memory(ctypes.c_long(0), False))


def held(core: Core) -> int:
    """How many pieces of memory the core has and did not give back."""
    core.lib.faults_held.restype = ctypes.c_long
    return int(core.lib.faults_held())


@contextmanager
def kernel(core: Core, answer: Answer) -> Iterator[None]:
    """In the block `answer` is asked before each socket(), sendto() and recv() of the core."""
    raised: list[BaseException] = []

    def hook(call: bytes, at: int, n: int) -> int:
        try:
            said = answer(call.decode(), ctypes.string_at(at, n) if call == b"sendto" else b"")
        except BaseException as error:  # must not be lost in the C frames
            raised.append(error)
            return 0
        if isinstance(said, bytes):
            assert call == b"recv" and 0 < len(said) <= n
            ctypes.memmove(at, said, len(said))
            return len(said)
        return -said if said else 0

    kept = Hook(hook)
    core.lib.faults_kernel(kept)
    try:
        yield
    finally:
        core.lib.faults_kernel(Hook())
    if raised:
        raise raised[0]
