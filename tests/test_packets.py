"""Packets from a Python program in, dpkt's objects out."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import dpkt
import pytest

import tcptrace_fsm as tf

from . import builders
from .test_cli import close_by_client, pcap

PACKETS = list(close_by_client())
NS = [(when * 10**9 + 123_456_000, frame) for when, frame in PACKETS]
WHOLE = builders.pcap(NS, magic=0xA1B23C4D)


def same(trace, other=None):
    other = other or tf.analyze(io.BytesIO(WHOLE))
    assert trace.connections.equals(other.connections)
    assert trace.transitions.equals(other.transitions)
    assert trace.anomalies.equals(other.anomalies)


def test_dpkts_readers():
    usual = tf.analyze(io.BytesIO(pcap(PACKETS)))
    same(tf.analyze(dpkt.pcap.Reader(io.BytesIO(pcap(PACKETS)))), usual)
    same(tf.analyze(dpkt.pcap.Reader(io.BytesIO(WHOLE))))
    ng = builders.section() + builders.interface() + b"".join(builders.packet(t // 1000, f) for t, f in NS)
    same(tf.analyze(dpkt.pcapng.Reader(io.BytesIO(ng))))


@pytest.mark.parametrize(
    "stamp",
    [lambda ns: ns, lambda ns: ns / 1e9, lambda ns: Decimal(ns) / 10**9],
    ids=["int", "float", "Decimal"],
)
@pytest.mark.parametrize("form", [list, iter, tuple])
def test_lists_and_generators(stamp, form):
    same(tf.analyze(form([(stamp(ns), frame) for ns, frame in NS]), linktype=1))


def test_what_turns_into_bytes():
    same(tf.analyze([(ns, dpkt.ethernet.Ethernet(frame)) for ns, frame in NS], linktype=1))
    same(tf.analyze([[ns, memoryview(frame)] for ns, frame in NS], linktype=1))


def test_other_link_types():
    raw = tf.analyze([(ns, frame[14:]) for ns, frame in NS], linktype=101)
    same(raw)
    ((_, first), *_) = raw.packets(0)
    assert isinstance(first, dpkt.ip.IP)


@pytest.mark.parametrize(
    "source, more, says",
    [
        ([(1, b"")], {}, "a list of packets needs linktype="),
        (
            [(1, b"")],
            {"linktype": "ethernet"},
            "LINKTYPE_ number, such as 1 for Ethernet or 101 for IP, not 'ethernet'",
        ),
        ([(1, b"")], {"linktype": -1}, "not -1"),
        ([b"frame"], {"linktype": 1}, "packet 1 is a bytes; expected \\(timestamp, bytes\\)"),
        ([(1, b""), (2, "text")], {"linktype": 1}, "packet 2 holds a str in place of bytes"),
        ([("now", b"")], {"linktype": 1}, "packet 1 has the timestamp 'now'"),
        ([(float("nan"), b"")], {"linktype": 1}, "the timestamp nan"),
        ([(-1, b"")], {"linktype": 1}, "the timestamp -1"),
        ([(True, b"")], {"linktype": 1}, "the timestamp True"),
        ("x.pcap", {"linktype": 1}, "not with a str"),
        (7, {}, "a path or a binary file object, not a int"),
        (7, {"linktype": 1}, "not with a int"),
    ],
)
def test_what_is_wrong_is_said_with_what_was_expected(source, more, says):
    with pytest.raises(tf.UsageError, match=says):
        tf.analyze(source, **more)


def test_packets_of_a_connection(tmp_path):
    other = list(close_by_client(40001, 1_700_000_003))
    path = tmp_path / "two.pcap"
    path.write_bytes(builders.pcap(sorted((t * 10**6, f) for t, f in [*PACKETS, *other])))
    trace = tf.analyze(str(path))
    for conn_id, conversation in enumerate((PACKETS, other)):
        found = list(trace.packets(conn_id))
        assert [time for time, _ in found] == [time for time, _ in conversation]
        # dpkt fills in the checksum of the IP header, which these leave at zero.
        assert [bytes(ethernet.data.data) for _, ethernet in found] == [frame[34:] for _, frame in conversation]
        assert all(isinstance(ethernet.data.data, dpkt.tcp.TCP) for _, ethernet in found)
    with pytest.raises(tf.UsageError, match="no connection 2"):
        list(trace.packets(2))


def test_packets_of_a_list_and_of_a_stream():
    found = [bytes(e.data.data) for _, e in tf.analyze(NS, linktype=1).packets(0)]
    assert found == [frame[34:] for _, frame in NS]
    with pytest.raises(tf.UsageError, match="cannot be read again"):
        list(tf.analyze(iter(NS), linktype=1).packets(0))


def test_what_dpkt_cannot_read_is_bytes():
    from tcptrace_fsm.views.packets import link_object

    assert link_object(1, b"short") == b"short"
    assert link_object(147, b"private") == b"private"


def test_the_readmes_script_runs(tmp_path, monkeypatch, capsys):
    root = Path(__file__).parent.parent
    (script,) = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert "dpkt.pcap.Reader" in script
    shutil.copy(root / "sample_pcaps" / "lost_time_wait.pcap", tmp_path / "capture.pcap")
    monkeypatch.chdir(tmp_path)
    with ExitStack() as files:  # the script leaves its file open
        names = {"open": lambda *arguments: files.enter_context(open(*arguments))}
        exec(script.replace("packets(5)", "packets(0)"), names)  # the page's own lines
    out = capsys.readouterr().out
    assert "TIME_WAIT" in out
    assert len(re.findall(r"^\d{10}\.\d+ \d+$", out, re.MULTILINE)) == 13


def test_dpkt_is_imported_only_when_used():
    code = (
        "import sys, tcptrace_fsm as tf; tf.analyze('sample_pcaps/lost_time_wait.pcap'); print('dpkt' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
