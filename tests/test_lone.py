"""Hosts that did something once: kept as numbers, and whoever asks gets the same words, one by one or by column."""

from __future__ import annotations

from array import array
from random import Random

import pytest

from tcptrace_fsm.core.finished import Findings
from tcptrace_fsm.findings.lone import Lone, Surveyed, in_turn
from tcptrace_fsm.findings.scan import SURVEYS
from tcptrace_fsm.kernels.layout import A_FIRST, A_FRAME, A_ID, A_KEY, A_MEMBER, A_SIDE, ATTEMPT_SIZE
from tcptrace_fsm.tables.anomalies import findings_table
from tcptrace_fsm.tables.columns import plain
from tcptrace_fsm.tcp.profiles import PROFILES
from tcptrace_fsm.text.counts import agreed


def lone(kind: str, seed: int, count: int = 50) -> Lone:
    """So many hosts, of IPv4 and of IPv6, each of which sent one segment."""
    survey = next(survey for survey in SURVEYS if survey.kind == kind)
    rng, words = Random(seed), array("q")
    for host in sorted((rng.randrange(2), rng.randrange(3), rng.randrange(1 << 32)) for _ in range(count)):
        one = array("q", bytes(8 * ATTEMPT_SIZE))
        one[A_KEY : A_KEY + 3] = one[A_MEMBER : A_MEMBER + 3] = array("q", host)
        one[A_ID], one[A_FRAME], one[A_FIRST] = rng.randrange(10**6), rng.randrange(10**6), rng.randrange(9)
        one[A_SIDE] = rng.randrange(2)
        words += one
    collector = survey.make(PROFILES["linux"])
    collector.attempts.words = words
    found = collector.lone(survey)
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["null_scan", "fin_scan", "xmas_scan"])
def test_by_column_they_say_what_each_says(kind):
    """And what is said agrees in number, as it stands."""
    some = lone(kind, 1)
    findings = Findings()
    findings.add(Surveyed([], [some]))
    each = list(some)
    assert each == [some.finding(i) for i in range(len(some))]
    assert findings_table(findings).equals(findings_table(each))
    assert all(agreed(one.message) == one.message for one in each)
    assert len({one.message for one in each}) > 40


def test_all_together_come_in_order_of_time():
    """Those that are made already among them; counts and the connections concerned are those of the words."""
    made = [one._replace(time=9 - one.time, message=f"{i} made") for i, one in enumerate(lone("xmas_scan", 3, 5))]
    parts = [lone("null_scan", 4), lone("fin_scan", 5)]
    findings = Findings()
    findings.add(part := Surveyed(made, parts))
    everything = [*made, *parts[0], *parts[1]]
    assert list(findings) == sorted(everything, key=in_turn)
    assert len(findings) == len(everything)
    assert list(part.others) == sorted(made, key=in_turn)
    assert [part.finding(i).conn_id for i in range(100)] == list(part.conn_ids)
    assert findings.about(parts[1].finding(3).conn_id or 0) == [parts[1].finding(3)]
    assert part.kinds_in(0) == {"null_scan", "fin_scan"}
    for counts, those in zip(part.counted(), parts, strict=True):
        worst = min(those, key=lambda f: f.place)
        assert (counts.place, counts.time, counts.message()) == (worst.conn_id, worst.time, worst.message)
        assert list(counts.places) == [f.conn_id for f in those]


def test_a_table_has_them_in_the_order_of_all_that_tells_them_apart():
    """Of one connection and moment by kind, then by side, and what only the words tell apart by these."""
    rng = Random(6)
    base = lone("null_scan", 7, 1).finding(0)
    findings = [
        base._replace(
            conn_id=rng.choice((None, 1, 2)),
            time=rng.randrange(2),
            kind=rng.choice("ab"),
            side=rng.choice((None, "client", "server")),
            message=str(rng.randrange(3)),
            frame=i + 1,
        )
        for i in range(300)
    ]
    rows = plain(findings_table(findings), "anomalies").to_pylist()
    assert [row["frame"] for row in rows] == [
        f.frame for f in sorted(findings, key=lambda f: (f.place, f.time, f.kind, f.side or "", f.message))
    ]
