"""Arrays that grow in place."""

from __future__ import annotations

import mmap

import pytest

from tcptrace_fsm.room import grown, room


@pytest.fixture(params=["as here", "where pages cannot be moved"])
def memory(request, monkeypatch):
    """Both ways of growing."""
    if request.param != "as here":

        class Fixed(mmap.mmap):
            def resize(self, _size):
                raise SystemError("mmap: resizing not available--no mremap()")

        monkeypatch.setattr(mmap, "mmap", Fixed)


@pytest.mark.usefixtures("memory")
def test_what_was_there_stays_and_zeros_follow():
    """Growing changes the length, never the content."""
    words = room(3)
    for i in range(len(words)):
        words[i] = i - 2**62
    had = len(words)
    words = grown(words, had + 1)
    assert len(words) >= had + had // 2
    assert list(words[:had]) == [i - 2**62 for i in range(had)]
    assert not any(words[had:])


@pytest.mark.usefixtures("memory")
def test_what_is_large_enough_stays_as_it_is():
    """The same array comes back."""
    words = room(100)
    assert grown(words, 100) is words
    assert len(room(0)) > 0
