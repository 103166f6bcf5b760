"""array_sort(), which stands in for qsort(): every order of a few, and many by chance."""

from __future__ import annotations

import itertools
import random
from ctypes import CFUNCTYPE, POINTER, c_int, c_int64, c_size_t

import pytest

from lib.ncf import Core

ORDER = CFUNCTYPE(c_int, POINTER(c_int64), POINTER(c_int64))


@pytest.fixture
def compared() -> list[int]:
    """How often two were compared."""
    return [0]


def in_order(core: Core, numbers: list[int], compared: list[int]) -> list[int]:
    def order(a, b) -> int:  # type: ignore[no-untyped-def]
        compared[0] += 1
        return int((a[0] > b[0]) - (a[0] < b[0]))

    array = (c_int64 * len(numbers))(*numbers)
    core.lib.array_sort(array, c_size_t(len(numbers)), c_size_t(8), ORDER(order))
    return list(array)


def test_every_order_of_a_few(core: Core, compared: list[int]) -> None:
    """None, one, and up to six, some of them alike."""
    for count in range(7):
        for numbers in itertools.product(range(min(count, 4)), repeat=count):
            assert in_order(core, list(numbers), compared) == sorted(numbers)


def test_many(core: Core, compared: list[int]) -> None:
    """By chance, sorted already, and the wrong way round: about n log n comparisons, half of a plain heap sort's."""
    chance = random.Random(1)
    for numbers in ([chance.randrange(10**6) for _ in range(2500)], list(range(2500)), list(range(2500, 0, -1))):
        compared[0] = 0
        assert in_order(core, numbers, compared) == sorted(numbers)
        assert compared[0] < 2500 * 13
