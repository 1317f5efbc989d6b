"""Every survey proves itself: its example gives one finding, its counterexample none."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from random import Random

import pytest

from tcptrace_fsm.capture.scripted import Script, parse
from tcptrace_fsm.core.engine import Engine
from tcptrace_fsm.core.finished import Finding, Finished
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.core.words import CATEGORIES
from tcptrace_fsm.findings import SURVEYS, attempts, groups, runner, scan, surveys
from tcptrace_fsm.findings.accept_queue import OVERFLOW
from tcptrace_fsm.findings.hosts import many
from tcptrace_fsm.findings.rule import SEVERITIES, SIDES
from tcptrace_fsm.findings.survey import Surveyor
from tcptrace_fsm.kernels import layout as k
from tcptrace_fsm.tcp.profiles import profile

HEALTHY = """
    0.000 > S  0:0(0)              <mss 1460,scale 7,sackok>
    0.010 < S. 0:0(0)       ack 1  <mss 1460,scale 7,sackok>
    0.020 > .  1:1(0)       ack 1
    0.030 > P. 1:101(100)   ack 1
    0.040 < P. 1:501(500)   ack 101
    0.050 > .  101:101(0)   ack 501
    0.060 > F. 101:101(0)   ack 501
    0.070 < F. 501:501(0)   ack 102
    0.080 > .  102:102(0)   ack 502
"""


def findings(text: str, kind: str | None = None, *, by_time: bool = False) -> list[Finding]:
    """What the surveys say about a capture, whose segments come as they are written, or by time."""
    linux = profile("linux")
    surveyor = surveys(linux) if kind is None else Surveyor([SURVEYS[kind]], linux)
    engine = Engine(Settings(linux), judges=[surveyor])
    lines = parse(text).lines
    if by_time:
        lines.sort(key=lambda line: line.time)
    for i in range(0, len(lines), 50):  # in several blocks, as a capture comes
        engine.feed(Renumbered(lines[i : i + 50], i))
    engine.finish()
    return found_by(engine)


def found_by(engine: Engine) -> list[Finding]:
    """What is over is judged when it is asked for; surveys speak at the end."""
    found = []
    while (done := engine.take()) is not None:
        found += done.findings
    return found


class Renumbered(Script):
    """Some lines of a conversation, with the frame numbers that they have in it."""

    def __init__(self, lines, before):
        super().__init__(lines)
        self.before = before

    @property
    def segments(self):
        from tcptrace_fsm.kernels.layout import S_FRAME, SEGMENT_SIZE

        words = super().segments
        for i in range(len(self.lines)):
            words[i * SEGMENT_SIZE + S_FRAME] += self.before
        return words


@pytest.mark.parametrize("kind", SURVEYS)
def test_example_gives_one_finding(kind):
    """The example gives exactly one finding of its kind."""
    assert [f.kind for f in findings(SURVEYS[kind].example, kind)] == [kind]


@pytest.mark.parametrize("kind", SURVEYS)
def test_counterexample_gives_none(kind):
    """What only looks alike gives none."""
    assert SURVEYS[kind].counterexamples
    for text in SURVEYS[kind].counterexamples:
        assert [f.message for f in findings(text, kind)] == [], text


@pytest.mark.parametrize("kind", SURVEYS)
def test_findings_are_fit_to_print(kind):
    """Each finding names a number, and has the frames, the connection and the time of one example at least."""
    (found,) = findings(SURVEYS[kind].example, kind)
    assert found.severity in SEVERITIES
    assert found.category in CATEGORIES
    assert found.side in (None, *SIDES)
    assert (found.conn_id is None) == (found.category == "capture")
    assert found.time > 0
    assert list(found.frames) == sorted(set(found.frames))
    assert found.frame in found.frames
    assert min(found.frames) >= 1
    assert re.search(r"\d", found.message)
    assert found.message[-1] != "."


@pytest.mark.parametrize("kind", SURVEYS)
def test_declaration_is_complete(kind):
    """A survey says what it means, what shows it, what else could, and where that stands."""
    survey = SURVEYS[kind]
    assert re.fullmatch(r"[a-z][a-z0-9_]*", kind)
    for text in (survey.summary, survey.evidence, survey.innocent):
        assert text.endswith("."), text
    assert re.match(r"RFC \d+|Linux |libpcap|Wireshark", survey.rfc), survey.rfc
    assert survey.severity in SEVERITIES
    assert survey.when or survey.every


def test_kinds_are_unique_across_families_and_rules():
    """No two surveys share a kind, and none has a rule's."""
    from tcptrace_fsm.findings import FAMILIES, RULES

    kinds = [survey.kind for family in FAMILIES for survey in getattr(family, "SURVEYS", ())]
    assert len(kinds) == len(set(kinds)) == len(SURVEYS)
    assert not set(kinds) & set(RULES)


def test_healthy_connections_give_no_finding_above_info():
    """Thirty clients, data both ways, normal close."""
    text = "\n".join(f"isn 1 {1 + i * 140_000_000}\n" + many(1, HEALTHY, first=41000 + i, start=i) for i in range(30))
    assert [f.message for f in findings(text) if f.severity != "info"] == []


def test_nothing_at_all():
    """An empty capture."""
    assert findings("") == []


def lossy(handshakes: int, share: int, *, silent: bool = False) -> str:
    """Handshakes of one listener 10 ms apart, behind a path that loses ``share`` in 100 of what goes to it.

    The captured are all; what the listener does depends on what arrives, by the timers of Linux.
    """
    dice = Random(share)
    lines: list[str] = []
    for i in range(handshakes):
        sent: list[tuple[float, str]] = [(0.0, "> S 0:0(0)"), (0.001, "< S. 0:0(0) ack 1")]
        asks = [(0.002, "> . 1:1(0) ack 1")]
        if not silent:
            asks += [(t, "> P. 1:101(100) ack 1") for t in (0.003, 0.203, 0.603, 1.403, 3.003)]
        for t in (1.001, 3.001):
            asks.append((t + 0.001, f"> . {1 if silent else 101}:{1 if silent else 101}(0) ack 1"))
        asks.sort()
        open_at = next((t for t, _ in asks if dice.randrange(100) >= share), 5.0)
        heard_at = next(
            (t for t, text in asks if "P." in text and t >= open_at and dice.randrange(100) >= share), open_at
        )
        sent += [(t, text) for t, text in asks if t <= open_at or ("P." in text and t <= heard_at)]
        sent += [(t, "< S. 0:0(0) ack 1") for t in (1.001, 3.001) if t < open_at]
        done = max(open_at, heard_at)
        end = 1 if silent else 101
        if not silent:
            sent.append((done + 0.0005, "< . 1:1(0) ack 101"))
        t, wait = 6.0, 0.2
        sent.append((t, f"> F. {end}:{end}(0) ack 1"))
        while dice.randrange(100) < share:
            t, wait = t + wait, 2 * wait
            sent.append((t, f"> F. {end}:{end}(0) ack 1"))
        sent += [(t + 0.001, f"< F. 1:1(0) ack {end + 1}"), (t + 0.002, f"> . {end + 1}:{end + 1}(0) ack 2")]
        lines.append(f"port {41000 + i} 80\nisn {1 + i} {1 + i * 140_000}")
        lines += [f"{i / 100 + t:.4f} {text}" for t, text in sorted(sent)]
    return "\n".join(lines)


@pytest.mark.parametrize("share", [2, 10, 30, 50])
@pytest.mark.parametrize("silent", [False, True])
def test_a_path_that_loses_segments_is_no_full_accept_queue(share, silent):
    """However many handshakes wait for it: the connections that open lose as much, later."""
    text = lossy(400, share, silent=silent)
    assert [f.message for f in findings(text, "accept_queue_overflow", by_time=True)] == []
    if share >= 30 and not silent:  # some do wait as if the queue were full
        assert rules_say(text)["accept_queue_overflow_suspected"] >= 3


@pytest.mark.parametrize("share", [2, 10])
def test_a_full_accept_queue_shows_behind_a_path_that_loses_segments(share):
    """An overflow among connections of which some lose something."""
    both = lossy(60, share) + "\n" + many(30, OVERFLOW, first=50000, start=0.2)
    (found,) = findings(both, "accept_queue_overflow", by_time=True)
    assert "30 handshakes" in found.message


def test_accept_queues_are_judged_alike_in_shares():
    """Two halves put together say what the whole says."""
    linux = profile("linux")
    survey = [SURVEYS["accept_queue_overflow"]]
    together = Surveyor(survey, linux)
    now = 0
    for text in (many(2, OVERFLOW), many(2, OVERFLOW, first=42000)):
        half = Surveyor(survey, linux)
        engine = Engine(Settings(linux), judges=[half])
        engine.feed(parse(text + "\nend 10"))
        engine.finish()
        assert found_by(engine) == []
        together.merge(half.gathered)
        now = engine.now
    last = Finished()
    together.finish(now, last)
    (found,) = last.findings
    assert "4 handshakes" in found.message


def rules_say(text: str) -> Counter[str]:
    """How often the rules find what, by time."""
    linux = profile("linux")
    engine = Engine(Settings(linux), judges=[runner(linux)])
    conversation = parse(text)
    conversation.lines.sort(key=lambda line: line.time)
    engine.feed(conversation)
    engine.finish()
    kinds: Counter[str] = Counter()
    while (done := engine.take()) is not None:
        kinds.update(f.kind for f in done.findings)
    return kinds


def scans(text: str) -> set[str]:
    """The kinds of scans and floods that are seen."""
    return {f.kind for f in findings(text) if f.category == "scan" and f.kind != "sequence_prediction_isn"}


def test_ends_of_ordinary_connections_are_no_scan():
    """Of which the capture has one direction, or one frame: to many hosts, from a server's port, with timestamps."""
    woken = [f"addr 10.0.0.1 10.1.0.{i}\nport {41000 + 7 * i} 443\n{i / 10} > F. 0:0(0) ack 0" for i in range(1, 45)]
    assert not scans("\n".join(woken))
    assert not scans("\n".join(f"{text}\n{i / 10 + 0.01} < R 0:0(0)" for i, text in enumerate(woken, 1)))
    served = "port 80 {0}\n{1} > F. 0:0(0) ack 0\n{2} > . 1:1(0) ack 1"
    assert not scans("\n".join(served.format(1100 + i, i / 10, i / 10 + 0.02) for i in range(40)))
    assert not scans("\n".join(f"port 80 {40000 + i}\n{i / 10} > . 0:0(0) ack 0" for i in range(40)))
    passive = "\n".join(f"port {42000 + i} {30000 + i}\n{i / 10} > F. 0:0(0) ack 0" for i in range(40))
    assert not scans(passive)
    stamped = "\n".join(f"port 50000 {1000 + i}\n{i / 10} > . 0:0(0) ack 0 <ts {100 + i}/7>" for i in range(40))
    assert not scans(stamped)


def test_idle_connections_that_are_kept_alive_are_no_flood():
    """A thousand clients of one server probe, and it answers."""
    alive = "port {0} 443\n{1:.4f} > . 0:0(0) ack 0\n{2:.4f} < . 0:0(0) ack 0"
    assert not scans("\n".join(alive.format(20000 + i, i / 100, i / 100 + 0.005) for i in range(600)))


def test_one_host_that_sends_acks_to_many_ports_of_another_scans_them():
    """Whether or not anybody answers."""
    silent = "\n".join(f"port 50000 {1000 + i}\n{i / 100} > . 0:0(0) ack 0" for i in range(40))
    assert scans(silent) == {"ack_scan"}
    (found,) = (f for f in findings(silent) if f.kind == "ack_scan")
    assert "to 40 ports of 10.0.0.2" in found.message


def attempt(rng: Random, number: int, block: array) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    """A connection of one of forty hosts, its record in ``block``: by whom, to whom, and how it ended."""
    c = number * k.CONNECTION_SIZE
    client, port, refused = rng.randrange(40), rng.randrange(9), rng.random() < 0.3
    block[c + k.C_ID], block[c + k.C_FIRST_FRAME] = number, 2 * number + 1
    block[c + k.C_FIRST_TIME] = begin = rng.randrange(1000)
    block[c + k.C_LAST_TIME] = begin + 5
    block[c + k.C_CLIENT_LO], block[c + k.C_SERVER_LO], block[c + k.C_PORTS] = client, 7, 40000 << 16 | port
    block[c + k.C_OPENING] = k.OPENING_REFUSED if refused else k.OPENING_UNANSWERED
    own = c + k.C_ENDPOINTS
    block[own + k.E_SYNS] = block[own + k.E_SEGMENTS] = 1
    return (0, 0, client), (0, 0, 7, port), "refused" if refused else "unanswered"


def kept_as(attempts: list[tuple[int, ...]]) -> dict:
    """The attempts by host, of the smallest twelve those with several."""
    expected: dict[tuple[int, ...], list] = {}
    for number, (host, member, what) in enumerate(attempts):
        expected.setdefault(host, []).append((number, member, what))
    return {host: expected[host] for host in sorted(expected)[:12] if len(expected[host]) > 1}


@pytest.mark.parametrize("seed", range(20))
def test_attempts_are_counted_by_host_in_any_order_and_in_any_number_of_parts(seed, monkeypatch):
    """Hosts that begin with a lone attempt become groups as others do; of too many the smallest keys stay."""
    monkeypatch.setattr(groups, "MOST_GROUPS", 12)
    monkeypatch.setattr(attempts, "MANY", 7)
    rng = Random(seed)
    block = array("q", bytes(8 * 300 * k.CONNECTION_SIZE))
    made = [attempt(rng, n, block) for n in range(rng.choice((1, 10, 60, 300)))]
    order = list(range(len(made)))
    rng.shuffle(order)
    parts = [scan.Scan(profile("linux"), by_system=False) for _ in range(rng.choice((1, 3)))]
    while order:
        some = [order.pop() for _ in range(min(len(order), rng.randrange(1, 9)))]
        parts[rng.randrange(len(parts))].see_all(block, array("q", [n * k.CONNECTION_SIZE for n in some]))
    whole = parts[0]
    for other in parts[1:]:
        whole.merge(other)
    whole.count()
    whole.attempts.trim(whole.groups)
    expected = kept_as(made)
    assert set(whole.groups) == set(expected)
    for host, group in whole.groups.items():
        alike = expected[host]
        ids = [number for number, _, _ in alike]
        begins = [block[n * k.CONNECTION_SIZE + k.C_FIRST_TIME] for n in ids]
        assert (group.conn_id, group.frame, group.first, group.member) == (
            ids[0],
            2 * ids[0] + 1,
            begins[0],
            alike[0][1],
        )
        assert (group.count, group.last) == (len(alike), max(begins) + 5)
        assert group.examples == [(number, 2 * number + 1) for number in ids[:8]]
        assert set(group.members) == {member for _, member, _ in alike}
        assert group.more == Counter(what for _, _, what in alike)
