"""What a second thread writes is written in order, whole, and what fails there is told."""

from __future__ import annotations

import pytest

from tcptrace_fsm.tables.behind import Behind, WritesBehind


class Writer:
    def __init__(self, full_at=99):
        self.rows = []
        self.closed = False
        self.full_at = full_at

    def write(self, table):
        if table == self.full_at:
            raise OSError(28, "No space left on device")
        self.rows.append(table)

    def close(self):
        self.closed = True


def test_everything_is_written_in_order():
    """Of several tables, by one thread."""
    behind, one, other = Behind(), Writer(), Writer()
    first, second = WritesBehind(one, behind), WritesBehind(other, behind)
    for n in range(50):
        first.write(n)
        second.write(-n)
    first.close()
    second.close()
    assert one.rows == list(range(50))
    assert other.rows == [-n for n in range(50)]
    assert one.closed
    assert other.closed


def test_what_fails_is_told_to_who_comes_next():
    """And once only."""
    writer = Writer(full_at=1)
    behind = WritesBehind(writer, Behind())
    behind.write(0)
    behind.write(1)
    with pytest.raises(OSError, match="No space left"):
        behind.write(2)
    behind.close()
    assert writer.rows == [0]
    assert writer.closed


def test_a_failure_at_the_end_is_told_and_the_file_is_closed():
    """Nobody comes next but whoever closes it."""
    writer = Writer(full_at=0)
    behind = WritesBehind(writer, Behind())
    behind.write(0)
    with pytest.raises(OSError, match="No space left"):
        behind.close()
    assert writer.closed
