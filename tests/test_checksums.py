"""Wrong checksums: what they are taken for, by what the same host sends elsewhere and what its peer does."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import parse
from tcptrace_fsm.findings.capture_point import SURVEYS
from tcptrace_fsm.kernels import layout as at
from tests.strategies import check, run, watched_engine
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
    assert bad(text.replace("mss 1460", "mss 8960")) != []


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
