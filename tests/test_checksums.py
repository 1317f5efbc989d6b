"""Wrong checksums: what they are taken for, by what the same host sends elsewhere and what its peer does."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.findings.capture_point import SURVEYS
from tcptrace_fsm.kernels import layout as at
from tcptrace_fsm.runs.run import new_engine
from tests.invariants import check
from tests.strategies import run, watched_engine
from tests.test_anomalies import findings
from tests.test_icmp import views
from tests.test_surveys import findings as surveyed

OPEN = """
    0.000 > S  0:0(0)              <mss 1460>
    0.010 < S. 0:0(0)     ack 1    <mss 1460>
    0.020 > .  1:1(0)     ack 1
"""
LOST = OPEN + "0.030 > P. 1:1461(1460) ack 1 bad\n"


def bad(text):
    """The messages about wrong checksums; every index is watched on the way."""
    check(run(text, engine=watched_engine()))
    return [f.message for f in findings(text) if f.kind == "bad_checksum"]


def only(text):
    (connection,) = run(text).connections
    return connection


def test_a_full_segment_that_was_damaged_reached_nobody():
    """It is repeated, and its receiver acknowledges nothing of it before."""
    text = LOST + "0.230 > P. 1:1461(1460) ack 1\n0.240 < . 1:1(0) ack 1461\n"
    (message,) = bad(text)
    assert message.startswith("1 of 4 segments of 10.0.0.1:40000 have a wrong checksum, others a right one: ")
    assert message.endswith("damaged on the way and 10.0.0.2:80 drops them")
    connection = only(text)
    assert (connection.end("client", "E_UNIQUE"), connection.end("client", "E_RETRANSMITTED")) == (1460, 0)


def test_what_is_acknowledged_was_not_damaged():
    """The capture shows it otherwise than it travelled; from then on nothing is made of wrong checksums."""
    taken = LOST + "0.040 < . 1:1(0) ack 1461\n"
    later = taken + "0.050 > P. 1461:2921(1460) ack 1 bad\n0.060 < . 1:1(0) ack 2921\n"
    connection = only(later)
    assert connection.end("client", "E_CHECKSUMS") & at.SUMS_BELIEVED
    assert connection.end("client", "E_UNIQUE") == connection.end("client", "E_BYTES") == 2920
    assert "ack_unseen" not in connection.marks
    marks = [marks for _, _, marks in run(later).labels()]
    assert sum("bad_checksum" in mark for mark in marks) == 1


def test_what_is_longer_than_the_mss_was_put_together_here():
    """Its checksum is that of a piece, or nobody's."""
    text = OPEN + "0.030 > P. 1:2921(2920) ack 1 bad\n0.040 < . 1:1(0) ack 2921\n"
    assert bad(text) == []
    assert only(text).end("client", "E_CHECKSUMS") & (at.SUMS_GOOD | at.SUMS_BAD) == at.SUMS_GOOD
    again = text.replace("0.040 < . 1:1(0)", "0.240 > P. 1:2921(2920) ack 1\n0.250 < . 1:1(0)")
    assert bad(again.replace("mss 1460", "mss 8960")) != []


@pytest.mark.parametrize("again", ["", " bad"])
def test_a_damaged_syn_reaches_no_server(again):
    """Its sender repeats it, whole or not, and no answer is in the capture."""
    text = f"0 > S 0:0(0) bad ttl 55\n1 > S 0:0(0) ttl 55{again}\n"
    (message,) = bad(text)
    assert ("SYN" in message, "drops them" in message) == (True, True)
    if again:
        assert message.startswith("2 segments (SYNs) of 10.0.0.1:40000, all that it sent, have a wrong checksum")
    assert only(text).change("client", "SYN_SENT").frame == 1


@pytest.mark.parametrize(
    "text",
    [
        "0 > S 0:0(0) bad\n1 > S 0:0(0) bad\n",  # perhaps on the host itself, whose card is to sum
        "0 > S 0:0(0) bad ttl 55\n0.1 < S. 0:0(0) ack 1\n",  # it was answered
        "0 > S 0:0(0) bad ttl 55\n0.1 < R. 0:0(0) ack 1\n",
        "0 > S 0:0(0) bad ttl 55\n0.1 < S. 0:0(0) ack 1\n0.2 > . 1:1(0) ack 1 bad\n",
    ],
)
def test_syns_that_may_be_whole_are_left_alone(text):
    """Where nothing tells that their receiver dropped them."""
    assert bad(text) == []


def test_the_first_whole_syn_teaches_its_options():
    """Those of a damaged one may be damaged too."""
    text = "0 > S 0:0(0) bad <mss 9, scale 1>\n1 > S 0:0(0) <mss 1460, scale 7>\n1.1 < S. 0:0(0) ack 1\n"
    connection = only(text)
    assert (connection.end("client", "E_MSS"), connection.end("client", "E_SHIFT")) == (1460, 7)
    assert only(text.replace(" bad", "")).end("client", "E_MSS") == 9


def test_each_logged_segment_has_its_own_verdict():
    """For rules to look at."""
    ((_, segments, _),) = views(parse(LOST + "0.230 > P. 1:1461(1460) ack 1\n"))
    good, wrong = at.CHECKSUM_GOOD, at.CHECKSUM_BAD
    assert [s.checksum for s in segments] == [good, good, good, wrong, good]


@pytest.mark.parametrize("kind", ["offload_tx", "offload_rx"])
def test_offload_says_a_whole_sentence(kind):
    """What was cut up or put together, and that it was not so on the wire."""
    survey = next(s for s in SURVEYS if s.kind == kind)
    (message,) = [f.message for f in surveyed(survey.example, kind)]
    what = {
        "offload_tx": "captured before the sending host's card cut them up (TSO, GSO)",
        "offload_rx": "put together by the receiving host's card (GRO, LRO)",
    }
    assert message.endswith(f": {what[kind]}; they are not what was on the wire")


def diagnosed(text):
    """Each cause of a conversation, with its severity."""
    engine = new_engine(Settings())
    engine.feed(parse(text))
    engine.finish()
    found = {}
    while (done := engine.take()) is not None:
        found |= {d.cause: d.severity for d in done.diagnoses}
    return found


ELSEWHERE = (
    OPEN
    + """
    0.030 > P. 1:101(100)   ack 1{0}
    0.040 < P. 1:101(100)   ack 101
    0.050 > .  101:101(0)   ack 101
    port 40001 81
    isn 5 6
"""
)
UNANSWERED = "1.000 > S 0:0(0){0}\n2.000 > S 0:0(0){0}\n4.000 > S 0:0(0){0}\n8.000 > S 0:0(0){0}\nend 20\n"


@pytest.mark.parametrize(
    ("elsewhere", "syns", "expected"),
    [
        # The host computes right ones: its SYNs are broken, and nobody is to blame for silence.
        ("", " bad", {"damaged_in_path": "high"}),
        # It has wrong ones elsewhere, which are acknowledged: its card puts them right, and the silence is another's.
        (" bad", " bad", {"syn_filtered": "medium"}),
        ("", "", {"syn_filtered": "medium"}),
    ],
)
def test_whether_syns_are_broken_is_told_by_what_the_host_sends_elsewhere(elsewhere, syns, expected):
    text = ELSEWHERE.format(elsewhere) + UNANSWERED.format(syns)
    assert diagnosed(text) == expected
    (finding,) = [f for f in findings(text) if f.kind == "syn_no_response"]
    assert ("checksums are wrong" in finding.message, finding.severity) == (bool(syns), "low" if syns else "medium")


def test_syns_of_a_host_that_sends_nothing_else_are_not_judged():
    """Its card may put the checksums right, or not: both are said, and neither above low."""
    assert diagnosed(UNANSWERED.format(" bad")) == {"syn_filtered": "low"}


@pytest.mark.parametrize("more", ["", "0.300 > P. 101:201(100) ack 1\n0.310 < . 1:1(0) ack 201\n"])
def test_a_damaged_rst_ends_nothing(more):
    """Nobody takes it: it is neither ignored as forged nor the end of the connection."""
    text = OPEN + "0.030 > P. 1:101(100) ack 1\n0.040 < . 1:1(0) ack 101\n0.200 < R. 1:1(0) ack 101 bad\n" + more
    connection = only(text)
    assert connection.states == ("ESTABLISHED", "ESTABLISHED")
    assert connection.end("server", "E_RSTS") == 0
    kinds = {f.kind for f in findings(text)}
    assert "bad_checksum" in kinds
    assert not kinds & {"rst_ignored", "rst_injection_suspected", "linger_zero_close", "abort_rst"}


def test_a_rst_whose_sender_never_has_right_checksums_is_taken():
    """They are computed behind the capture point."""
    text = OPEN.replace("< S. 0:0(0)     ack 1 ", "< S. 0:0(0) ack 1 bad ")
    text += "0.030 > P. 1:101(100) ack 1\n0.040 < . 1:1(0) ack 101 bad\n0.200 < R. 1:1(0) ack 101 bad\n"
    assert only(text).states == ("CLOSED", "CLOSED")
