"""Stand-ins: records with chosen words, findings, a capture and an engine that need no bytes."""

from __future__ import annotations

from array import array
from ipaddress import ip_address
from types import SimpleNamespace

from tcptrace_fsm.core.finished import Finding, Findings
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.tcp.machine import Basis, Event, State

START = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


def finding(conn_id=0, kind="zero_window", severity="low", message="Something, with a comma.", **more):
    given = {
        "conn_id": conn_id, "side": "client", "time": START, "frame": 7, "kind": kind, "category": "data",
        "severity": severity, "basis": "sent", "message": message, "frames": (3, 7), "rfc": "RFC 9293 3.8.6",
        "possible_artefact": None,
    }  # fmt: skip
    return Finding(**(given | more))


def signed(word):
    return word - (1 << 64) if word >> 63 else word


def connection(
    conn_id=0, client="10.0.0.1", server="10.0.0.2", ports=(40000, 80), words=None, client_words=None, server_words=None
):
    """A connection record; ``words`` by C_ number, the endpoints' by E_ number."""
    record = [0] * k.CONNECTION_SIZE
    ends = [ip_address(a) for a in (client, server)]
    record[k.C_NET] = int(ends[0].version == 6)
    for address, high, low in zip(ends, (k.C_CLIENT_HI, k.C_SERVER_HI), (k.C_CLIENT_LO, k.C_SERVER_LO), strict=True):
        record[high] = signed(int(address) >> 64)
        record[low] = signed(int(address) & (1 << 64) - 1)
    record[k.C_PORTS] = ports[0] << 16 | ports[1]
    defaults = {
        k.C_ID: conn_id, k.C_PREVIOUS_ID: -1, k.C_STREAM: -1, k.C_FIRST_TIME: START, k.C_LAST_TIME: START + SECOND,
        k.C_FIRST_FRAME: 1, k.C_LAST_FRAME: 9, k.C_SYN_TIME: -1, k.C_SYN_ACK_TIME: -1, k.C_HANDSHAKE_ACK_TIME: -1,
        k.C_CLIENT_STATE: int(State.TIME_WAIT), k.C_SERVER_STATE: int(State.CLOSED), k.C_CLOSED_FIRST: k.WHO_CLIENT,
    }  # fmt: skip
    for word, value in (defaults | (words or {})).items():
        record[word] = value
    for side, more in enumerate((client_words, server_words)):
        begin = k.C_ENDPOINTS + side * k.ENDPOINT_SIZE
        known = {k.E_MSS: -1, k.E_SHIFT: -1, k.E_RTT_MIN: -1, k.E_ACK: -1, k.E_FIN: -1}
        for word, value in (known | (more or {})).items():
            record[begin + word] = value
    return record


def transition(conn_id, side, time, source, target, event=Event.SND_SYN, basis=Basis.SENT, frame=1, confirmed_by=-1):
    record = [0] * k.TRANSITION_SIZE
    values = (conn_id, side, time, time - 1000, time + 1000, frame, source, target, event, basis, confirmed_by)
    record[:] = [int(v) for v in values]
    return record


def finished(connections, transitions=(), findings=()):
    """What an engine hands out, the arrays longer than what counts, as the engine's may be."""
    spare = [99] * k.CONNECTION_SIZE
    return SimpleNamespace(
        connections=array("q", [w for record in [*connections, spare] for w in record]),
        count=len(connections),
        transitions=array("q", [w for record in [*transitions, spare] for w in record]),
        transition_count=len(transitions),
        waits=array("q"),
        wait_count=0,
        findings=Findings(findings),
        paths=None,
        diagnoses=[],
        undiagnosed=0,
    )


def segment(frame, conn_id=0, side=0, time=None, flags=k.TCP_ACK, seq=0, ack=0, length=0, marks=(), words=None):
    record = [0] * k.SEGMENT_SIZE
    values = {
        k.S_FRAME: frame, k.S_TIME: START + frame * SECOND if time is None else time, k.S_CONNECTION: conn_id,
        k.S_SIDE: side, k.S_FLAGS: flags, k.S_SEQ: seq % 2**32, k.S_ACK: ack % 2**32, k.S_LEN: length,
        k.S_WINDOW: 100, k.S_MARKS: sum(1 << m for m in marks),
    }  # fmt: skip
    for word, value in (values | (words or {})).items():
        record[word] = value
    return record


def batch(segments):
    """A batch as a capture yields it: the array is longer, and used again."""
    words = [w for record in segments for w in record] + [77] * k.SEGMENT_SIZE
    return SimpleNamespace(segments=array("q", words), count=len(segments))


class FakeCapture:
    """Yields the given batches; its attributes are those of a capture of so many frames."""

    times_held = stray_stamps = 0

    def __init__(self, batches=(), name="fake.pcap", frames=9, truncated=None, outcomes=None, links=None):
        self.name, self.format, self.compression, self.link_types = name, "pcap", "", [1]
        self.frames, self.bytes_read, self.size = frames, 1000, 1000
        self.first_time, self.last_time = START, START + 10 * SECOND
        self.truncated = truncated
        self.outcomes = array("q", [frames, *[0] * (k.OUTCOMES - 1)] if outcomes is None else outcomes)
        self.unsupported_links = links or {}
        self._batches = batches

    def segments(self):
        yield from self._batches


class FakeEngine:
    """Hands out what it was made with: one after each feed, the rest at the end."""

    hurried = 0
    leapt = 0
    times_held = 0
    streams_opened = 0
    judges = ()

    def __init__(self, given):
        self._given = list(given)
        self._ready = []
        self.fed = 0

    def feed(self, batch):
        self.fed += batch.count
        self._ready += self._given[:1]
        del self._given[:1]

    def finish(self):
        self._ready += self._given

    def take(self):
        return self._ready.pop(0) if self._ready else None
