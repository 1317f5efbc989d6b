"""The fuzzers' corpus, played to their targets without a fuzzer: what was once interesting stays sound."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tcptrace_fsm.kernels import layout as at
from tests.fuzz.harness import TARGETS, capture_target, segments_of, segments_target

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(path for name in TARGETS for path in (CORPUS / name).iterdir())


def test_there_is_a_corpus():
    """Both targets have inputs to begin from."""
    assert {path.parent.name for path in FILES} == set(TARGETS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_corpus(path):
    """No index out of bounds, no exception, and every invariant holds."""
    TARGETS[path.parent.name](path.read_bytes())


@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.parametrize("name", ["normal_close.pcap", "straight_to_time_wait.pcapng"])
def test_capture_cut_at_each_offset(name):
    """A capture that ends anywhere gives what came before, or says that it is none."""
    data = (CORPUS / "capture" / name).read_bytes()
    for end in range(0, len(data), 7):
        capture_target(data[:end])


def test_targets_take_next_to_nothing():
    """An input too short to mean anything is no reason to fall over."""
    for data in (b"", b"\0", bytes(12)):
        segments_target(data)
        capture_target(data)


def test_records_are_what_decode_could_have_made():
    """The segments target stays within what the decoder gives: 32-bit numbers, nine flags, known sides."""
    records = segments_of(bytes(range(256)) * 3)
    assert len(records) > 0
    assert min(records[i] for i in range(at.S_SEQ, len(records), at.SEGMENT_SIZE)) >= 0


def test_more_holes_than_there_is_room_for():
    """No byte counts as seen that was not sent."""
    segments_target(
        base64.b64decode(
            "AgADAAAAAQBAQwFWVlZWVlZWVlZWVlZWO1ZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVlZWVl"
            "ZWVlZWVlZWVlZWVlZWVlZWVlZWAAABAwgAAAEAQAMBAAAAAwAA/wEAQAMBAAA9AwgAAAEAQAMBAAA="
        )
    )
