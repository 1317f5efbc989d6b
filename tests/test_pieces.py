"""Captures that were put together wrongly, or hold little of one direction: they prove nothing of the hosts."""

from __future__ import annotations

import pytest

from tcptrace_fsm.capture.scripted import Script, parse
from tcptrace_fsm.core.settings import Settings
from tcptrace_fsm.runs.run import new_engine
from tests.pieces import appended, kinds, loud
from tests.strategies import run

pytestmark = pytest.mark.plain


WHOLE = """
    0.000 > S  0:0(0)               id 101 <mss 1460, ts 1000/0>
    1.000 > S  0:0(0)               id 102 <mss 1460, ts 2000/0>
    1.010 < S. 0:0(0)       ack 1   id 0   <mss 1460, ts 7000/2000>
    1.020 > .  1:1(0)       ack 1   id 103 <ts 2020/7000>
    1.030 > P. 1:101(100)   ack 1   id 104 <ts 2030/7000>
    1.040 < P. 1:301(300)   ack 101 id 501 <ts 7030/2030>
    1.050 > .  101:101(0)   ack 301 id 105 <ts 2050/7030>
    1.060 > F. 101:101(0)   ack 301 id 106 <ts 2060/7030>
    1.070 < F. 301:301(0)   ack 102 id 502 <ts 7060/2060>
    1.080 > .  102:102(0)   ack 302 id 107 <ts 2080/7060>
"""


@pytest.mark.parametrize("after", [5.0, 30.0])
@pytest.mark.parametrize("lines", [10, 9, 7], ids=["whole", "last ACK missing", "open"])
def test_a_capture_that_was_appended_to_itself_is_one_story(after, lines):
    """Its SYN has the timestamp that it had, and its sender's clock had gone on: the packet itself comes again."""
    text = "\n".join(WHOLE.strip("\n").splitlines()[:lines])
    (once,), (twice,) = run(parse(text)).connections, run(appended(text, after)).connections
    for side in ("client", "server"):
        assert twice.end(side, "E_SEGMENTS") == once.end(side, "E_SEGMENTS")
        assert twice.end(side, "E_RETRANSMITTED") == once.end(side, "E_RETRANSMITTED")
    assert kinds(appended(text, after)) == kinds(parse(text))  # it tells no more of what is missing, as of a last ACK


def test_who_goes_on_after_his_capture_was_appended_to_itself_is_heard_again():
    """What nobody had said before is no copy."""
    text = "\n".join(WHOLE.strip("\n").splitlines()[:7])
    lines = appended(text, 30).lines
    later = parse("40.0 > P. 101:201(100) ack 301 id 120 <ts 41000/7030>").lines
    base = parse(WHOLE).lines[0]
    later = [line._replace(source=base.source, target=base.target) for line in later]
    (connection,) = run(Script(lines + later)).connections
    assert connection.end("client", "E_UNIQUE") == 200


def test_a_new_connection_with_the_same_isn_and_a_later_timestamp_is_new():
    """A host that draws the same number again."""
    text = WHOLE.replace("ts 1000/0", "ts 2500/0").replace("ts 2000/0", "ts 3500/0")
    lines = parse(WHOLE).lines + [line._replace(time=line.time + 5 * 10**9) for line in parse(text).lines[:1]]
    assert len(run(Script(lines)).connections) == 2


@pytest.mark.parametrize(("lag", "syn_acks"), [(0.0004, 1), (0.003, 1), (0.5, 2)])
def test_a_syn_ack_without_identification_that_comes_at_once_again_is_a_copy(lag, syn_acks):
    """No timer is so quick, and no SYN came again."""
    text = f"""
        0.000 > S  0:0(0)             id 101
        0.010 < S. 0:0(0)     ack 1   id 0
        {0.010 + lag:.4f} < S. 0:0(0) ack 1 id 0
        0.700 > .  1:1(0)     ack 1   id 102
        0.710 > P. 1:101(100) ack 1   id 103
        0.720 < .  1:1(0)     ack 101 id 501
    """
    (connection,) = run(parse(text)).connections
    assert connection.end("server", "E_SYNS") == syn_acks


OLD = """
    0.000 > S  0:0(0)               <mss 1460, ts 1000/0>
    0.010 < S. 0:0(0)       ack 1   <mss 1460, ts 7000/1000>
    0.020 > .  1:1(0)       ack 1   <ts 1020/7000>
    0.030 > P. 1:101(100)   ack 1   <ts 1030/7000>
    0.040 < .  1:1(0)       ack 101 <ts 7030/1030>
    1.000 < F. 1:1(0)       ack 101 <ts 8000/1030>
    1.010 > F. 101:101(0)   ack 2   <ts 2010/8000>
    1.020 < .  2:2(0)       ack 102 <ts 8010/2010>
    isn 200000 900000
    3.000 > S  0:0(0)               <mss 1460, ts {0}/0>
    3.010 < S. 0:0(0)       ack 1   <mss 1460, ts 10000/{0}>
    3.020 > .  1:1(0)       ack 1   <ts {1}/10000>
    isn 1000 5000
    3.500 > P. {2}          ack 1   <ts 1030/7000>
"""


@pytest.mark.parametrize(
    ("syn", "data", "old"),
    [(4000, "1:101(100)", True), (4000, "101:151(50)", False), (500, "1:101(100)", False)],
    ids=["seen before", "never seen", "the SYN is the older one"],
)
def test_a_segment_is_old_only_where_it_had_passed_before_the_new_syn(syn, data, old):
    """What the capture sees for the first time then may stand in the wrong place."""
    found = run(parse(OLD.format(syn, syn + 20, data)), rules=True).findings
    assert any(f.kind == "old_duplicate_segment" and f.severity == "high" for f in found) == old


USED = """
    0.000 > S  0:0(0)     ttl 64
    0.010 < S. 0:0(0)     ack 1 ttl 60
    0.020 > .  1:1(0)     ack 1
    0.030 > P. 1:101(100) ack 1
    0.040 < F. 1:1(0)     ack 101
    0.050 > F. 101:101(0) ack 2
    0.060 < .  2:2(0)     ack 102
    isn 2000000 5000
    1.000 > S  0:0(0)     ttl 64
"""


def test_one_syn_without_an_answer_is_no_port_in_time_wait():
    """Who has none asks again: the capture may lack what came."""
    assert "port_in_time_wait" not in loud(USED + "end 20")
    assert "port_in_time_wait" in loud(USED + "2.000 > S  0:0(0) ttl 64\n4.000 > S  0:0(0) ttl 64\nend 20")


SERVED = """
    port {0} 80
    {1}.000 > S  0:0(0)     ttl 64
    {1}.010 < S. 0:0(0)     ack 1 ttl 60
    {1}.020 > .  1:1(0)     ack 1
    {1}.030 > P. 1:101(100) ack 1
    {1}.040 < P. 1:201(200) ack 101 ttl 60
    {1}.050 > .  101:101(0) ack 201
"""


@pytest.mark.parametrize(
    ("ack", "at", "cause"), [("1:1(0)", 9.02, True), ("301:301(0)", 9.02, False), ("1:1(0)", 19.02, False)]
)
def test_a_reset_is_a_full_queue_only_where_it_answers_the_ack_of_the_handshake(ack, at, cause):
    """Not an ACK of later, before which the capture lacks what was said."""
    failing = f"""
        port 40009 80
        9.000 > S  0:0(0)     ttl 64
        9.010 < S. 0:0(0)     ack 1 ttl 60
        {at:.3f} > .  {ack}     ack 1
        {at + 0.01:.3f} < R 1:1(0)          ttl 60
    """
    text = SERVED.format(40001, 0) + SERVED.format(40002, 1) + failing
    assert ("accept_queue_full" in loud(text)) == cause


def test_data_count_as_unacknowledged_only_where_the_capture_holds_the_acks():
    """The peer's count of its packets shows that ACKs of it are missing."""
    text = """
        0.000 > S  0:0(0)               id 101
        0.010 < S. 0:0(0)       ack 1   id 501
        0.020 > .  1:1(0)       ack 1   id 102
        0.030 > P. 1:101(100)   ack 1   id 103
        0.040 < .  1:1(0)       ack 101 id 502
        0.050 > P. 101:201(100) ack 1   id 104
        0.060 < .  1:1(0)       ack 201 id {0}
        0.070 > P. 201:301(100) ack 1   id 105
        0.080 < .  1:1(0)       ack 301 id {1}
        0.090 > P. 301:401(100) ack 1   id 106
        0.095 > R. 401:401(0)   ack 1   id 107
    """
    how = {
        ids: next(f.severity for f in run(parse(text.format(*ids)), rules=True).findings if f.kind == "abort_rst")
        for ids in ((503, 504), (505, 506))
    }
    assert how[503, 504] > how[505, 506]


def test_repetitions_are_for_nothing_as_often_as_the_receiver_says_so():
    """In a capture out of order ACKs may stand before what they acknowledge; the receiver's reports do not lie."""
    begin = """
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)       ack 1
        0.020 > .  1:1(0)       ack 1
        0.030 > P. 1:101(100)   ack 1
        0.040 < .  1:1(0)       ack 101
    """
    again = "{0} > P. 1:101(100) ack 1\n{1} < . 1:1(0) ack 101 <sack 1:101>\n"
    silent = "{0} > P. 1:101(100) ack 1\n{1} < . 1:1(0) ack 101\n"

    def severity(*each: str) -> int:
        text = begin + "".join(x.format(1 + i, 1.01 + i) for i, x in enumerate(each))
        found = run(parse(text), rules=True).findings
        return next(f.severity for f in found if f.kind == "spurious_retransmission")

    assert severity(again, again, again) > severity(again, silent, silent) == severity(silent, silent, silent)


def test_copies_at_a_second_point_whose_clock_is_behind_are_copies():
    """There they have a hop less, and come first: the packet is the same."""
    fins = "".join(
        f"{at:.4f} < F. 1:1(0) ack 102 id {600 + n} ttl 63\n{at + 0.007:.4f} < F. 1:1(0) ack 102 id {600 + n} ttl 64\n"
        for n, at in enumerate((1.1, 1.3, 1.5, 1.9, 2.7, 4.3))
    )
    text = f"""
        0.000 > S  0:0(0)             id 101 ttl 63
        0.001 < S. 0:0(0)     ack 1   id 0   ttl 63
        0.002 > .  1:1(0)     ack 1   id 102 ttl 63
        0.003 > P. 1:101(100) ack 1   id 103 ttl 63
        0.004 < .  1:1(0)     ack 101 id 501 ttl 63
        0.011 < .  1:1(0)     ack 101 id 501 ttl 64
        1.000 > F. 101:101(0) ack 1   id 104 ttl 63
        1.001 < .  1:1(0)     ack 102 id 502 ttl 63
        1.008 < .  1:1(0)     ack 102 id 502 ttl 64
        {fins}
    """
    (connection,) = run(parse(text)).connections
    assert connection.end("server", "E_FINS") == 6


@pytest.mark.parametrize(
    ("seq", "syn_id", "connections"), [(99, 101, 1), (50, 101, 1), (50, 900, 2), (-500000, 101, 2)]
)
def test_a_syn_stamped_behind_what_it_opened_opens_nothing_new(seq, syn_id, connections):
    """Its number is that before the first byte, or its sender had counted it before what was seen."""
    text = f"""
        isn 0 0
        1.000 > P. 100:200(100) ack 1   id 103
        1.010 < P. 1:301(300)   ack 200 id 502
        1.020 > .  200:200(0)   ack 301 id 104
        1.500 > S  {seq}:{seq}(0)       id {syn_id}
        1.510 < S. 0:0(0)       ack {seq + 1} id 0
        1.520 > .  {seq + 1}:{seq + 1}(0) ack 1 id {syn_id + 1}
    """
    assert len(run(parse(text)).connections) == connections


@pytest.mark.parametrize(("window", "lost"), [(0, False), (900, True)])
def test_what_meets_a_shut_window_was_not_lost_on_the_way(window, lost):
    """Its receiver drops it for want of room."""
    again = "".join(
        f"{at} > . 101:1101(1000) ack 1\n{at + 0.01:.2f} < . 1:1(0) ack 101 win {window}\n" for at in (0.3, 0.7, 1.5)
    )
    text = f"""
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)         ack 1
        0.020 > .  1:1(0)         ack 1
        0.030 > P. 1:101(100)     ack 1
        0.040 < .  1:1(0)         ack 101  win 1000
        0.050 > .  101:1101(1000) ack 1
        0.060 < .  1:1(0)         ack 101  win {window}
        {again}
        3.000 > . 101:1101(1000)  ack 1
        3.010 < . 1:1(0)          ack 1101 win 1000
    """
    found = run(parse(text), rules=True).findings
    assert any(f.kind == "lost_after_v" and f.severity == "medium" for f in found) == lost
    assert any("drops what it has no room for" in f.message for f in found) == (not lost)


def test_a_syn_that_its_sender_resets_may_have_had_an_answer():
    """As where answers take another way: who resets has seen one."""
    text = """
        0.00 > S  0:0(0)
        0.01 > R  1:1(0)
        isn 7777 5000
        1.00 > S  0:0(0)
    """
    found = [f.severity for f in run(parse(text), rules=True).findings if f.kind == "syn_isn_changed"]
    assert found in ([], ["low"])


def test_a_first_ack_beyond_the_first_byte_is_not_the_first():
    """A filter on flags leaves out what was before it."""
    text = """
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)       ack 1
        9.000 > {0}             ack 341
        9.010 < {1}
    """
    forged, filtered = (text.format("F. 1:1(0)", "R 341:341(0)"), text.format("F. 109:109(0)", "R 341:341(0)"))
    assert "handshake_ack_invalid" in kinds(parse(forged))
    assert "handshake_ack_invalid" not in kinds(parse(filtered))


@pytest.mark.parametrize(("ip_id", "tsval", "syns"), [(101, 1000, 1), (102, 1000, 2), (101, 14000, 2)])
def test_the_same_syn_packet_later_is_no_second_syn(ip_id, tsval, syns):
    """A host that repeats it gives it the time and the number of that moment."""
    text = f"""
        0.000 > S  0:0(0) id 101 <mss 1460, ts 1000/0>
        13.00 > S  0:0(0) id {ip_id} <mss 1460, ts {tsval}/0>
    """
    (connection,) = run(parse(text)).connections
    assert connection.end("client", "E_SYNS") == syns


@pytest.mark.parametrize(("ttl", "forged"), [(43, False), (57, True)])
def test_a_scanner_whose_own_system_resets_its_answer_may_go_on(ttl, forged):
    """Its program speaks past the system; an injected reset comes from another distance."""
    text = f"""
        0.0000 > S  0:0(0)       id 0 ttl 43
        0.0027 > S  0:0(0)       id 0 ttl 44
        0.0028 < S. 0:0(0)       ack 1 id 0 ttl 64
        0.0055 < S. 0:0(0)       ack 1 id 0 ttl 63
        0.1000 > R  1:1(0)       id 0 ttl {ttl}
        0.1027 > R  1:1(0)       id 0 ttl {ttl + 1}
        14.000 > .  1:110(109)   ack 1 id 0 ttl 43
        14.003 > .  1:110(109)   ack 1 id 0 ttl 44
        14.004 < R  1:1(0)       id 0 ttl 64
        14.007 < R  1:1(0)       id 0 ttl 63
    """
    assert ("rst_injection_suspected" in kinds(parse(text))) == forged


@pytest.mark.parametrize(("at", "severity"), [(62.001, "low"), (70.0, "medium")])
def test_last_words_with_a_fin_behind_them_are_no_request(at, severity):
    """Who closes at once waits for no answer."""
    text = f"""
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)       ack 1
        0.020 > .  1:1(0)       ack 1
        0.030 > P. 1:301(300)   ack 1
        0.040 < P. 1:501(500)   ack 301
        0.050 > .  301:301(0)   ack 501
        0.060 > P. 301:601(300) ack 501
        0.070 < P. 501:901(400) ack 601
        0.080 > .  601:601(0)   ack 901
        50.00 < F. 901:901(0)   ack 601
        50.01 > .  601:601(0)   ack 902
        62.00 > P. 601:638(37)  ack 902
        {at} > F.  638:638(0)   ack 902
        {at + 0.009} < R 902:902(0)
    """
    if at > 63:
        text = text.replace("637", "637").replace(f"{at} > F.  638:638(0)   ack 902\n", "")
    found = loud(text)
    assert found.get("reused_after_close", "low") == severity or (severity == "medium" and found)


@pytest.mark.parametrize(("seq", "severity"), [(301, None), (701, "medium")])
def test_a_reset_where_its_sender_stands_has_overtaken_what_was_before(seq, severity):
    """A blind guess does not hit the byte behind the last that was sent."""
    text = f"""
        0.000 > S  0:0(0)
        0.010 < S. 0:0(0)       ack 1
        0.020 > .  1:1(0)       ack 1
        0.030 > P. 1:101(100)   ack 1
        0.040 < .  1:1(0)       ack 101
        0.050 < R. {seq}:{seq}(0) ack 101
        0.051 > .  101:101(0)   ack 1
        0.052 < P. 1:301(300)   ack 101
    """
    found = [f.severity for f in run(parse(text), rules=True).findings if f.kind == "rst_seq_inexact"]
    assert found == ([severity] if severity else [])


@pytest.mark.parametrize(("ticks", "jumped"), [(15_000, True), (300_000, False)])
def test_clocks_that_tick_ten_times_a_second_at_least_show_a_jump(ticks, jumped):
    """Of a connection that waited only once nobody knows how fast its clocks are."""
    text = f"""
        0.000 > S  0:0(0)           <ts 1000/0>
        0.010 < S. 0:0(0)     ack 1 <ts 5000/1000>
        0.020 > .  1:1(0)     ack 1 <ts 1020/5000>
        3615  < P. 1:12(11)   ack 1 <ts {5000 + ticks}/1020>
        3615.01 > F. 1:1(0)   ack 12 <ts {1020 + ticks}/{5000 + ticks}>
    """
    engine = new_engine(Settings())
    engine.feed(parse(text))
    engine.finish()
    said: list[str] = []
    while (done := engine.take()) is not None:
        said += [f.kind for f in done.findings]
    assert ("timestamp_regression" in said) == jumped
