"""Arrays that grow in place."""

from __future__ import annotations

import ctypes
import mmap
import platform
import subprocess
import sys

import pytest

from tcptrace_fsm.cli.captures import are_large
from tcptrace_fsm.core.room import grown, keep_freed, room


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


@pytest.mark.parametrize("library", [AttributeError("mallopt"), OSError("none"), TypeError("a name is needed")])
def test_a_c_library_without_such_a_setting_is_left_alone(monkeypatch, library):
    """The setting is a matter of speed: where it is not to be had, nothing happens."""

    def refuse(_name):
        raise library

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    keep_freed()


def test_freed_memory_stays_with_the_process_where_it_is_glibcs():
    """What is taken again after it was freed comes without new pages, which is what the setting is for."""
    code = """
import resource
from tcptrace_fsm.core.room import KEPT_WITH_TABLES, keep_freed
keep_freed(KEPT_WITH_TABLES)
def taken():
    blocks = [bytearray(b"x") * (3 << 20) for _ in range(10)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
first = taken()
print(taken() - first)
"""
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("this C library cannot be told")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1000  # of the 7680 pages that it is


@pytest.mark.parametrize(
    ("sizes", "large"), [((), False), ((1 << 20, 1 << 20), False), ((40 << 20, 40 << 20), True), ((None,), True)]
)
def test_a_command_prepares_for_much_where_it_may_come(tmp_path, sizes, large):
    """What has no size, a pipe or something elsewhere, may be long."""
    names = [str(tmp_path / f"{n}.pcap") for n in range(len(sizes))]
    for name, size in zip(names, sizes, strict=True):
        if size is not None:
            with open(name, "wb") as file:
                file.truncate(size)
    assert are_large(names) is large
