"""The stretch of memory that holds one packed adapter."""

from __future__ import annotations

import mmap
import weakref

import pytest
import torch

from server.engine import lora_memory
from server.engine.lora_memory import HUGE, Stretch

BELOW, ABOVE = 1000, HUGE + 1000  # numbers of two bytes: less than a huge page, and more than two


@pytest.mark.parametrize("numbers", [BELOW, ABOVE])
def test_what_is_taken_lies_one_after_the_other_and_there_is_no_more(numbers: int) -> None:
    stretch = Stretch(numbers)
    first, second = stretch.take(100, 2, 2), stretch.take(numbers - 400)
    assert (first.dtype, first.shape) == (torch.bfloat16, (100, 2, 2))
    assert first.data_ptr() + first.nbytes == second.data_ptr()
    first.fill_(1)
    second.fill_(2)
    assert (first == 1).all()
    assert (second == 2).all()
    with pytest.raises(RuntimeError):
        stretch.take(1)


def test_a_large_one_asks_for_huge_pages_where_it_fills_them_and_only_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[int, int, int]] = []

    class Mapped(mmap.mmap):
        def madvise(self, *what: int) -> None:
            asked.append(what)
            super().madvise(*what)

    monkeypatch.setattr(lora_memory.mmap, "mmap", Mapped)
    taken = Stretch(ABOVE).take(ABOVE)
    ((option, begin, length),) = asked
    assert option == mmap.MADV_HUGEPAGE
    assert taken.data_ptr() % HUGE == 0
    assert 0 <= begin < HUGE
    assert length == 2 * HUGE, "of a page that it does not fill, all would be in memory"


@pytest.mark.parametrize("numbers", [BELOW, ABOVE])
def test_it_is_there_as_long_as_something_of_it_is(numbers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[weakref.ref] = []

    class Mapped(mmap.mmap):
        def __init__(self, *_: object, **__: object) -> None:
            held.append(weakref.ref(self))

    monkeypatch.setattr(lora_memory.mmap, "mmap", Mapped)
    stretch = Stretch(numbers)
    kept = stretch.take(10).fill_(3)
    rest = stretch.take(numbers - 10)
    del stretch, rest
    assert all(one() is not None for one in held)
    assert (kept == 3).all()
    del kept
    assert all(one() is None for one in held)
    assert len(held) == (numbers == ABOVE)


def test_a_system_without_huge_pages_gives_memory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mapped(mmap.mmap):
        def madvise(self, *_: int) -> None:
            raise OSError("Invalid argument")

    monkeypatch.setattr(lora_memory.mmap, "mmap", Mapped)
    assert (Stretch(ABOVE).take(ABOVE).fill_(1) == 1).all()
