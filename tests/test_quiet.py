"""Ordinary things that look like trouble: what must not be said of them above ``low``, or not as more than possible."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.findings.rule import SEVERITIES
from tcptrace_fsm.runs.run import new_engine
from tests.strategies import run
from tests.test_causes import diagnoses

pytestmark = pytest.mark.plain

OPENED = """
    0.000 > S  0:0(0)
    0.010 < S. 0:0(0)     ack 1
    0.020 > .  1:1(0)     ack 1
"""

QUIET = {
    "the server resets what the client had closed, having read all": (
        OPENED
        + """
        0.030 > P. 1:101(100) ack 1
        0.040 < P. 1:201(200) ack 101
        0.050 > .  101:101(0) ack 201
        9.000 > P. 101:106(5) ack 201
        9.001 > F. 106:106(0) ack 201
        9.002 < .  201:201(0) ack 107
        9.003 < R. 201:201(0) ack 107
        """
    ),
    "uploads, each of which its reader takes without a word": (
        """
        port 40001 80
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)     ack 1
        0.020 > .  1:1(0)     ack 1
        0.021 > P. 1:14601(14600) ack 1
        0.031 < .  1:1(0)     ack 14601
        0.032 > FP. 14601:29201(14600) ack 1
        0.042 < F. 1:1(0)     ack 29202
        0.052 > .  29202:29202(0) ack 2
        port 40002 80
        1.000 > S  0:0(0)
        1.010 < S. 0:0(0)     ack 1
        1.020 > .  1:1(0)     ack 1
        1.021 > P. 1:14601(14600) ack 1
        1.031 < .  1:1(0)     ack 14601
        1.032 > FP. 14601:29201(14600) ack 1
        1.042 < F. 1:1(0)     ack 29202
        1.052 > .  29202:29202(0) ack 2
        """
    ),
    "a scanner resets the SYN+ACK, and later sends data all the same": (
        """
        0.000 > S  0:0(0)
        0.001 < S. 0:0(0)     ack 1
        0.002 > R  1:1(0)
        15.00 > .  1:110(109) ack 1
        15.01 < R  1:1(0)
        """
    ),
    "both ends have closed, and only the last FIN has no answer": (
        OPENED
        + """
        0.030 > P. 1:101(100) ack 1
        0.040 < P. 1:201(200) ack 101
        0.050 > .  101:101(0) ack 201
        1.000 < F. 201:201(0) ack 101
        1.010 > .  101:101(0) ack 202
        1.020 > F. 101:101(0) ack 202
        1.500 > F. 101:101(0) ack 202
        2.500 > F. 101:101(0) ack 202
        4.500 > F. 101:101(0) ack 202
        8.500 > F. 101:101(0) ack 202
        end 30
        """
    ),
    "one acknowledged message of a running connection": (
        """
        0.000 > P. 1:42(41)   ack 1
        0.300 < .  1:1(0)     ack 42
        end 24
        """
    ),
    "a server that reports when it has something to report, seen from the middle on": (
        """
        0.000 < P. 1:248(247)    ack 1
        0.080 > .  1:1(0)        ack 248
        0.180 > P. 1:43(42)      ack 248
        0.220 < .  248:248(0)    ack 43
        4.000 < P. 248:495(247)  ack 43
        4.001 > .  43:43(0)      ack 495
        4.260 > P. 43:85(42)     ack 495
        4.300 < .  495:495(0)    ack 85
        16.90 < P. 495:742(247)  ack 85
        16.91 > .  85:85(0)      ack 742
        """
    ),
    "a client whose messages are not all answered": (
        OPENED
        + """
        0.030 > P. 1:17(16)   ack 1
        0.040 < P. 1:17(16)   ack 17
        0.200 > .  17:17(0)   ack 17
        20.00 > P. 17:23(6)   ack 17
        20.12 < .  17:17(0)   ack 23
        45.00 > P. 23:39(16)  ack 17
        45.03 < P. 17:39(22)  ack 39
        45.20 > .  39:39(0)   ack 39
        65.00 > P. 39:45(6)   ack 39
        65.12 < .  39:39(0)   ack 45
        70.70 < P. 39:55(16)  ack 45     # of its own accord
        70.90 > .  45:45(0)   ack 55
        """
    ),
}


def loud(text: str) -> list[str]:
    """The diagnoses above ``low``; a client's pause may be ``possible``."""
    engine = new_engine(Settings())
    engine.feed(parse(text))
    engine.finish()
    found: list[str] = []
    while (done := engine.take()) is not None:
        found += [
            f"{d.cause}: {d.message}"
            for d in done.diagnoses
            if SEVERITIES.index(d.severity) > 1 and (d.confidence != "possible" or d.cause != "client_slow")
        ]
    return found


@pytest.mark.parametrize("name", QUIET)
def test_no_diagnosis_is_loud(name):
    """Nothing above ``low`` is said that is not there."""
    assert loud(QUIET[name]) == []


# Healthy conversations, as captures show them that lack frames, stamp coarsely, or stamp one direction late.
DISTORTED = {
    "a health check whose RSTs a filter leaves out": """
        0.000 > S  0:0(0)
        0.001 < S. 0:0(0)     ack 1
        end 100
    """,
    "one packet of ten: a SYN, and an ACK far on": """
        0.000 > S  0:0(0)
        1.000 < .  1:1(0)     ack 5001
        9.000 > P. 70001:70101(100) ack 900
        end 20
    """,
    "one packet of ten: a SYN alone": """
        0.000 > S  0:0(0)
        end 100
    """,
    "bare ACKs are filtered out, and the client closes by RST": """
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)     ack 1
        0.020 > P. 1:101(100) ack 1
        0.040 < P. 1:1001(1000) ack 101
        0.200 > R. 101:101(0) ack 1001
    """,
    "answers that were acknowledged are missing, and the server closes an hour later": OPENED
    + """
        0.030 > P. 1:101(100) ack 1
        0.031 < .  1:1(0)     ack 101
        0.060 > .  101:101(0) ack 1001
        3600 < F. 1001:1001(0) ack 101
        3600.01 > F. 101:101(0) ack 1002
        3600.02 < .  1002:1002(0) ack 102
    """,
    "the server's direction is stamped 20 ms late": """
        0.000 > S  0:0(0)
        0.001 > .  1:1(0)     ack 1
        0.002 > P. 1:101(100) ack 1
        0.020 < S. 0:0(0)     ack 1
        0.025 > .  101:101(0) ack 1001
        0.040 < .  1:1(0)     ack 101
        0.041 < P. 1:1001(1000) ack 101
        30.00 > F. 101:101(0) ack 1001
        30.02 < F. 1001:1001(0) ack 102
        30.021 > . 102:102(0) ack 1002
    """,
    "an RST behind bytes that the capture lacks": OPENED
    + """
        0.030 > P. 1:101(100) ack 1
        0.040 < P. 1:201(200) ack 101
        0.050 > .  101:101(0) ack 201
        60.00 < R. 501:501(0) ack 101
    """,
    "a RST long after an answer whose ACK the capture lacks": OPENED
    + """
        0.030 > P. 1:101(100) ack 1
        0.040 < P. 1:201(200) ack 101
        60.00 < R. 201:201(0) ack 101
    """,
    "keepalives whose echoes show that they were answered": """
        0.000 > S  0:0(0)             <ts 10/0>
        0.010 < S. 0:0(0)     ack 1   <ts 50/10>
        0.020 > .  1:1(0)     ack 1   <ts 11/50>
        0.030 > P. 1:101(100) ack 1   <ts 12/50>
        0.040 < P. 1:201(200) ack 101 <ts 51/12>
        0.050 > .  101:101(0) ack 201 <ts 13/51>
        45.00 > .  100:100(0) ack 201 <ts 45/51>
        90.00 > .  100:100(0) ack 201 <ts 90/4500>
        135.0 > .  100:100(0) ack 201 <ts 135/9000>
        180.0 > .  100:100(0) ack 201 <ts 180/13500>
        end 200
    """,
}


@pytest.mark.parametrize("name", DISTORTED)
def test_what_a_capture_distorts_is_not_loud(name):
    """Neither a finding nor a diagnosis above low."""
    assert loud(DISTORTED[name]) == []
    found = run(DISTORTED[name], rules=True).findings
    assert [f.message for f in found if SEVERITIES.index(f.severity) > SEVERITIES.index("low")] == []


@pytest.mark.parametrize(("at", "said"), [(0.1, []), (0.6, ["reset_injected"])])
def test_a_system_answers_at_once_what_its_scanner_asked(at, said):
    """A reset in the client's name half a second later, of a client that goes on, is not its own."""
    text = f"""
        0.0000 > S  0:0(0)       id 0 ttl 255
        0.0001 < S. 0:0(0)       ack 1 id 0 ttl 255
        {at} > R  1:1(0)       id 0 ttl 64
        7.0000 > P. 1:101(100)   ack 1 id 2 ttl 255
        7.0001 < R. 1:1(0)       ack 101 id 1 ttl 255
    """
    assert [d.cause for d in diagnoses(text) if d.cause == "reset_injected"] == said


def test_what_is_answered_at_once_has_arrived():
    """Each copy draws an old ACK, and the peer repeats what was acknowledged: refused at its host, not lost on the way.

    What makes it refuse them happens behind the capture point.
    """
    text = (
        OPENED
        + """
        0.030 > P. 1:101(100) ack 1
        0.040 < P. 1:201(200) ack 101
        0.050 > .  101:101(0) ack 201
        """
        + "".join(
            f"{t} > P. 101:401(300) ack 201\n{t + 0.02:.3f} < . 201:201(0) ack 101\n"
            f"{t + 0.04:.3f} < P. 1:201(200) ack 101\n{t + 0.0401:.4f} > . 401:401(0) ack 201\n"
            f"{t + 0.06:.3f} < . 201:201(0) ack 101\n"
            for t in (1.0, 1.25, 1.75, 2.75, 4.75, 8.75)
        )
        + "end 20\n"
    )
    assert [d.cause for d in diagnoses(text) if d.confidence != "possible"] == ["segments_rejected"]


@pytest.mark.parametrize(("words", "severity"), [(7, "low"), (300, "medium")])
def test_who_takes_leave_in_a_few_words_misses_no_answer(words, severity):
    """Some directories reset in place of a FIN when a client unbinds; a request behind which it closed is lost."""
    text = (
        OPENED
        + f"""
        0.030 > P. 1:101(100) ack 1
        0.040 < P. 1:201(200) ack 101
        0.050 > .  101:101(0) ack 201
        0.300 > P. 101:{101 + words}({words}) ack 201
        0.301 > F. {101 + words}:{101 + words}(0) ack 201
        0.311 < R. 201:201(0) ack {102 + words}
        """
    )
    found = {f.kind: f.severity for f in run(text, rules=True).findings}
    assert found["rst_instead_of_ack_of_fin"] == severity


@pytest.mark.parametrize("flags", ["F", "FPU", "-", "."])
def test_a_scan_explains_the_findings_of_its_own_connections(flags):
    """Segments of no connection to many ports: one diagnosis, which leaves nothing above ``info`` unexplained."""
    ack = "ack 77" if flags == "." else ""
    seq = "0:0(0)"
    text = "".join(f"\nport 50000 {n + 1}\n{n}.0 > {flags} {seq} {ack}\n{n}.1 < R 77:77(0)" for n in range(60))
    engine = new_engine(Settings())
    engine.feed(parse(text))
    engine.finish()
    findings, diagnoses = [], []
    while (done := engine.take()) is not None:
        findings += done.findings
        diagnoses += done.diagnoses
    assert [(d.cause, d.severity, d.count) for d in diagnoses] == [("scan", "low", 60)]
    assert {f.kind for f in findings if SEVERITIES.index(f.severity) > 0} <= set(diagnoses[0].findings)
