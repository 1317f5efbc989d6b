"""Lone segments, in a few words each: what is made of them in the end is what the tracker would have made at once."""

from __future__ import annotations

from random import Random

import pytest

from tcptrace_fsm.capture.containers import open_capture
from tcptrace_fsm.core import engine
from tcptrace_fsm.core.grouping import Records
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.tables.columns import SOURCES, Rows
from tests import builders as make

LABELS = (k.S_CONNECTION, k.S_SIDE, k.S_MARKS, k.S_STREAM)
PLACES = {k.C_LIVING, k.C_OLDER, k.C_NEWER, k.C_LOG_HEAD, k.C_LOG_TAIL}  # where something lies in memory


FLAGS = ("", "F", "FPU", "FA", "A", "PA", "R", "RA", "SA", "SAE", "SF", "SR", "SU", "FR", "PU")


def lone(seed: int, strangers: float, flags: tuple[str, ...] = ("S", "S", "SEC"), pause: int = 2_000_000) -> bytes:
    """Segments of several systems, SYNs if nothing else is asked for, and some that come again."""
    rng = Random(seed)
    time, frames = 0, []
    for _ in range(400):
        time += rng.randrange(pause)
        stamps = b"\2\4\5\xb4\4\2\x08\x0a" + rng.randbytes(4) + bytes(4) + b"\1\3\3\7"
        syn = make.tcp(
            src_port=rng.choice((rng.randrange(1024, 65536), 80)),
            dst_port=rng.choice((80, 4000, 40000)),
            seq=rng.randrange(1 << 32),
            ack=rng.choice((0, rng.randrange(1 << 32))),
            payload=rng.choice((b"", b"", b"x" * rng.randrange(1, 99))),
            flags=rng.choice(flags),
            window=rng.choice((512, 64240)),
            options=rng.choice((b"", b"\2\4\5\xb4", stamps)),
        )
        six, ends = rng.random() < strangers, (rng.randrange(1, 200), rng.randrange(1, 3))
        ttl, ident = rng.choice((64, 128, 255)), rng.randrange(65536)
        frames.append((time, packet(syn, ends, ttl, ident, six=six)))
        if rng.random() < strangers:
            frames.append((time + rng.randrange(2 * pause), packet(syn, ends, ttl, ident, six=six)))
        if rng.random() < strangers:
            answer = make.tcp(
                src_port=int.from_bytes(syn[2:4]),
                dst_port=int.from_bytes(syn[:2]),
                ack=int.from_bytes(syn[4:8]) + 1 & 0xFFFFFFFF,
                flags=rng.choice(("RA", "SA", "A", "R", "S")),
            )
            frames.append((time + rng.randrange(100 * pause), packet(answer, ends[::-1], ttl, ident, six=six)))
    return make.pcap(sorted(frames, key=lambda frame: frame[0]))


def packet(syn: bytes, ends: tuple[int, int], ttl: int, ident: int, *, six: bool) -> bytes:
    """In IPv4 or IPv6."""
    if six:
        return make.ethernet(make.ipv6(syn, src=f"2001:db8::{ends[0]}", dst=f"2001:db8::{ends[1]}", hops=ttl), 0x86DD)
    return make.ethernet(make.ipv4(syn, src=f"10.0.1.{ends[0]}", dst=f"10.0.0.{ends[1]}", ttl=ttl, ident=ident))


def finished(path, *, embryos: int, crowd: int) -> tuple[list, list]:
    """What an engine hands out, and what it writes to segments."""
    pass_ = engine.Engine(Settings(), seed=1, crowd=crowd)
    pass_.control[k.K_EMBRYOS] = embryos
    done, labels = [], []
    for batch in open_capture(str(path), chunk_size=4096).segments():
        pass_.feed(batch)
        labels += [batch.segments[word :: k.SEGMENT_SIZE].tolist() for word in LABELS]
        while (some := pass_.take()) is not None:
            done.append(some)
    pass_.finish()
    while (some := pass_.take()) is not None:
        done.append(some)
    return done, labels


def by_number(done: list) -> dict[int, list[int]]:
    """Each connection's record without places, and its transitions."""
    found = {}
    for some in done:
        at = 0
        for c in range(0, some.count * k.CONNECTION_SIZE, k.CONNECTION_SIZE):
            record = some.connections[c : c + k.CONNECTION_SIZE]
            end = at + record[k.C_TRANSITIONS] * k.TRANSITION_SIZE
            found[record[k.C_ID]] = [n for i, n in enumerate(record) if i not in PLACES] + list(
                some.transitions[at:end]
            )
            at = end
    return found


@pytest.mark.parametrize("crowd", [500_000, 40])
@pytest.mark.parametrize("strangers", [0.0, 0.02, 0.5])
@pytest.mark.parametrize(
    ("flags", "pause"), [(("S", "S", "SEC"), 2_000_000), (FLAGS, 2_000_000), (("S", *FLAGS), 2_000_000_000)]
)
def test_a_lone_segment_comes_out_as_if_it_had_had_a_row_from_the_first(
    flags, pause, strangers, crowd, tmp_path, monkeypatch
):
    """Among its like, whose rows are made apart, and among others, and as one that is forgotten: word for word."""
    monkeypatch.setattr(engine, "CHUNK", 30)
    path = tmp_path / "lone.pcap"
    path.write_bytes(lone(crowd, strangers, flags, pause))
    (short, labels), (whole, expected) = (finished(path, embryos=embryos, crowd=crowd) for embryos in (1, 0))
    assert labels == expected
    assert by_number(short) == by_number(whole)
    assert any(isinstance(some.connections, Records) for some in short) or strangers > 0.1
    waits = [sorted(zip(*[iter(n for some in done for n in some.waits)] * k.WAIT_SIZE)) for done in (short, whole)]  # noqa: B905
    assert waits[0] == waits[1]
    tables = []
    for done in (short, whole):
        rows = Rows(SOURCES["connections"])
        for some in done:
            rows.add(some.connections, some.count)
        columns = rows.take()
        tables.append({word: columns[word].tolist() for word in SOURCES["connections"].words})
    assert tables[0] == tables[1]
