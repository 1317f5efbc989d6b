"""Reading real captures, where there are some: the same TCP segments and payload lengths as tshark.

``TCPTRACE_FSM_CAPTURES`` names a folder with captures; without it, or without tshark, there is nothing to compare.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.capture.layers.links import encapsulation_name
from tcptrace_fsm.errors import CaptureError
from tcptrace_fsm.kernels import layout as at

FOLDER = os.environ.get("TCPTRACE_FSM_CAPTURES", "")
MAGIC = {bytes.fromhex(text) for text in ("d4c3b2a1", "a1b2c3d4", "4d3cb2a1", "a1b23c4d", "0a0d0d0a", "34cdb2a1")}


def captures():
    if not FOLDER:
        return []
    found = []
    for path in sorted(Path(FOLDER).rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                start = file.read(4)
            if start in MAGIC or start[:2] == b"\x1f\x8b":
                found.append(path)
    return found


def by_tshark(path):
    """Frame number: payload length as tshark prints it, for each frame that tshark calls TCP."""
    done = subprocess.run(
        [
            *("tshark", "-r", path, "-Y", "tcp and not icmp and not icmpv6"),
            *("-T", "fields", "-e", "frame.number", "-e", "tcp.len"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return {int(number): length.split(",")[0] for number, length in rows}


def by_us(path):
    """The same from here; a TCP header that is cut or impossible has no length, as in tshark."""
    found = {}
    capture = open_capture(path)
    for batch in capture.segments():
        for s in range(0, batch.count * at.SEGMENT_SIZE, at.SEGMENT_SIZE):
            found[batch.segments[s + at.S_FRAME]] = str(batch.segments[s + at.S_LEN])
        for i in range(batch.frame_count):
            if batch.frames[i * at.FRAME_SIZE + at.F_OUTCOME] in {at.OUTCOME_SHORT_TCP, at.OUTCOME_BAD_TCP_HEADER}:
                found[batch.first_frame + i] = ""
    assert sum(capture.outcomes) == capture.frames
    return found


def teredo(path):
    """The frames whose segments lie in Teredo."""
    capture, found = open_capture(path), set()
    for batch in capture.segments():
        for s in range(0, batch.count * at.SEGMENT_SIZE, at.SEGMENT_SIZE):
            number = batch.segments[s + at.S_FRAME]
            if encapsulation_name(batch.segments[s + at.S_NET] >> 1).endswith("teredo"):
                found.add(number)
    return found


@pytest.mark.skipif(not FOLDER, reason="TCPTRACE_FSM_CAPTURES names no folder with captures")
@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
@pytest.mark.parametrize("path", captures(), ids=lambda path: str(path.relative_to(FOLDER)))
def test_same_segments_as_tshark(path):
    """Every frame that tshark calls TCP is a segment here, with the same payload length, and no other is."""
    try:
        ours = by_us(path)
    except CaptureError:
        ours = {}
    theirs = by_tshark(path)
    # tshark knows Teredo by its servers' port, we by the addresses inside: what clients send each other is ours alone.
    assert ours.keys() - theirs.keys() <= teredo(path)
    assert theirs.keys() <= ours.keys()
    for number, length in theirs.items():
        # tshark gives none for what it cannot judge, a fragment for one; we give none where the header is impossible.
        if length and ours[number]:
            assert (number, ours[number]) == (number, length)
