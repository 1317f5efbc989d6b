"""Causes that look alike at first sight, and what each capture holds that tells them apart."""

from __future__ import annotations

import pytest

from tests.test_causes import diagnoses
from tests.test_causes_company import opened, refused, told

pytestmark = pytest.mark.plain

LOUD = ("medium", "high")


def loud(text):
    """Causes that are said above ``low``."""
    return {d.cause for d in diagnoses(text) if d.severity in LOUD}


def ended(port, at):
    """A connection that opens, asks and closes in order, within a tenth of a second."""
    return (
        opened(port, at)
        + f"""
        {at + 0.0600:.4f} > F. 101:101(0) ack 201 ttl 64
        {at + 0.0700:.4f} < F. 201:201(0) ack 102 ttl 60
        {at + 0.0701:.4f} > .  102:102(0) ack 202 ttl 64
    """
    )


def theirs(text):
    """The same, from another host."""
    return "addr 10.0.0.9 10.0.0.2\n" + text + "addr 10.0.0.1 10.0.0.2\n"


BEFORE = "".join(ended(40001 + n, n) for n in range(5))
VAIN = refused(40011, 10) + refused(40012, 20) + "end 60\n"


def test_a_client_that_opens_nothing_more_and_has_nothing_left_open_was_barred():
    """No translation can be full for it; one that holds connections may have no more ports."""
    assert told(BEFORE + VAIN) == [("syn_filtered", "possible")]
    assert told(BEFORE + opened(40009, 6) + VAIN)[0][0] == "nat_ports_exhausted"
    twice = "\n".join(refused(40011, 10).splitlines()[:3]) + "\n"
    assert "syn_filtered" not in loud(BEFORE + twice + ended(40012, 20) + ended(40013, 30))


def at_the_server(text):
    """As a capture at the server shows it."""
    return text.replace("ttl 64", "ttl 0").replace("ttl 60", "ttl 64").replace("ttl 0", "ttl 60")


def test_at_the_server_those_who_are_served_meanwhile_tell_a_filter_from_a_full_queue():
    """A full queue takes nobody's SYN."""
    others = "".join(ended(40021 + n, 11 + 4 * n) for n in range(5))
    assert told(at_the_server(BEFORE + theirs(others) + VAIN)) == [("syn_filtered", "likely")]
    assert told(at_the_server(BEFORE + theirs(ended(40021, 0.5)) + VAIN))[0][0] == "accept_queue_full"
    late = refused(40031, 12) + "19.001 < S. 0:0(0) ack 1 ttl 60\n19.002 > . 1:1(0) ack 1 ttl 64\n"
    assert told(at_the_server(BEFORE + theirs(others + late) + VAIN))[0][0] != "syn_filtered"


def unreachable(port, at):
    """SYNs that a router answers with an ICMP error."""
    return f"port {port} 80\n" + "".join(
        f"{at + t:.4f} > S 0:0(0) ttl 64\n{at + t + 0.01:.4f} > icmp 3/1 0\n" for t in (0, 1, 3)
    )


def test_icmp_says_that_one_of_several_machines_of_an_address_cannot_be_reached():
    """The others answer; without a word of ICMP nothing tells so."""
    some = "".join(ended(40001 + n, 5 * n) + unreachable(40011 + n, 5 * n + 1) for n in range(4)) + "end 60\n"
    first = diagnoses(some)[0]
    assert (first.cause, first.confidence, first.severity) == ("host_unreachable", "likely", "medium")
    silent = "\n".join(line for line in some.splitlines() if "icmp" not in line)
    assert "host_unreachable" not in [d.cause for d in diagnoses(silent)]


def longer(excess, more=""):
    """A message of 100 bytes, an ACK for more, and what both ends go on to repeat in vain."""
    acked = 201 + excess
    lines = (
        opened(40001, 0)
        + f"""
        1.000 > P. 101:201(100) ack 201 ttl 64
        1.030 < P. 201:301(100) ack {acked} ttl 60
        1.031 > .  201:201(0) ack 201 ttl 64
    """
    )
    for n, t in enumerate((1.3, 1.9, 3.1, 5.5, 10.3)):
        lines += f"""
        {t} > P. 101:201(100) ack 201 ttl 64
        {t + 0.02} < . 301:301(0) ack {acked} ttl 60
        {t + 0.05} < P. 201:301(100) ack {acked} ttl 60
        {t + 0.051} > . 201:201(0) ack 201 ttl 64
        """
        lines += more if n == 1 else ""
    return lines


def test_acks_beyond_all_that_was_sent_tell_of_a_box_that_changed_lengths():
    """Not where their receiver goes on to say what the capture lacks."""
    assert told(longer(7)) == [("numbers_rewritten", "possible")]
    assert "numbers_rewritten" not in {d.cause for d in diagnoses(longer(0))}
    more = "2.5 > P. 201:301(100) ack 201 ttl 64\n"
    assert "numbers_rewritten" not in {d.cause for d in diagnoses(longer(7, more))}


def test_a_host_whose_own_resets_follow_a_strange_one_was_not_replaced():
    """Somebody cut both sides: what the client had under way meets the RSTs of the real server."""

    def cut(port, at, ttl):
        return f"""
        port {port} 80
        {at:.4f} > P. 101:201(100) ack 201 ttl 64
        {at + 0.0001:.4f} > P. 201:301(100) ack 201 ttl 64
        {at + 0.0100:.4f} < R. 201:201(0) ack 201 ttl {ttl}
        {at + 0.0200:.4f} < R 201:201(0) ttl 60
        {at + 0.0201:.4f} < R 201:201(0) ttl 60
        """

    text = "".join(opened(40001 + n, n / 10) + cut(40001 + n, 1 + n / 10, 250) for n in range(4))
    assert told(text) == [("reset_injected", "likely")]
    assert "reset_injected" not in {d.cause for d in diagnoses(text.replace("ttl 250", "ttl 60"))}


def requests(port, at, times):
    """Requests, one after the other, that are answered after these times."""
    lines, t, k = opened(port, at, ask=False), at + 0.03, 0
    for took in times:
        a, b = 1 + 100 * k, 1 + 200 * k
        lines += f"""
        {t:.4f} > P. {a}:{a + 100}(100) ack {b} ttl 64
        {t + 0.0101:.4f} < .  {b}:{b}(0) ack {a + 100} ttl 60
        {t + 0.0102 + took:.4f} < P. {b}:{b + 200}(200) ack {a + 100} ttl 60
        {t + 0.0103 + took:.4f} > .  {a + 100}:{a + 100}(0) ack {b + 200} ttl 64
        """
        t, k = t + 0.0103 + took + 0.05, k + 1
    return lines


def test_an_answer_that_is_late_once_among_many_quick_ones_is_no_poll():
    """Whoever polls asks again when a poll ends; a name that nobody knows costs 25 s too."""
    once = "".join(requests(40001 + n, 40 * n, [0.004] * 4 + [25.0] + [0.004] * 12) for n in range(2))
    assert "server_slow" in loud(once)
    polls = "".join(requests(40001 + n, 90 * n, [0.004] * 4 + [25.0] * 3 + [0.004] * 2) for n in range(2))
    assert loud(polls) == set()


def taken_and_reset(port, at, flags):
    """A request that is answered by an RST at once, on a connection in which the server has said nothing."""
    seq = "1:1(0) ack 101" if flags == "R." else "1:1(0)"
    return (
        opened(port, at, ask=False)
        + f"""
        {at + 0.0300:.4f} > P. 1:101(100) ack 1 ttl 64
        {at + 0.0400:.4f} < {flags} {seq} ttl 60
    """
    )


def test_a_server_that_takes_a_request_and_resets_has_lost_it_though_it_never_spoke():
    """Its RST acknowledges the request; one without ACK knows no such connection."""
    text = "".join(taken_and_reset(40001 + n, n, "R.") for n in range(4))
    assert loud(text) == {"closed_with_unread_data"}
    assert "closed_with_unread_data" not in loud("".join(taken_and_reset(40001 + n, n, "R") for n in range(4)))


SPLIT = (
    opened(40001, 0, ask=False)
    + """
        0.0300 > .  1:1449(1448)    ack 1    ttl 64
        0.0301 > P. 1449:1791(342)  ack 1    ttl 64
        0.0500 < F. 1:1(0)          ack 1449 ttl 60
        0.0501 < R  1:1(0)                   ttl 60
        0.0502 > .  1791:1791(0)    ack 2    ttl 64
        0.0503 > F. 1791:1791(0)    ack 2    ttl 64
        0.0700 < R  2:2(0)                   ttl 60
"""
)


def test_a_server_that_closes_in_the_midst_of_a_request_loses_its_rest():
    """Also where the client closes in answer; a client that had said all had closed before."""
    assert told(SPLIT)[0][0] == "closed_with_unread_data"
    said = SPLIT.replace("P. 1449:1791(342)", "FP. 1449:1791(342)").replace(" 1791:1791(0) ", " 1792:1792(0) ")
    lines = [line for line in said.splitlines() if "0.0503" not in line]
    assert "closed_with_unread_data" not in loud("\n".join(lines))


def looks_in(port, at, first):
    """A client that says 24 bytes and leaves; ``first``, whether the server had greeted it."""
    own = 42 if first else 1
    greeting = "" if not first else f"{at + 0.02:.4f} < P. 1:42(41) ack 1 ttl 60\n"
    return (
        opened(port, at, ask=False)
        + greeting
        + f"""
        {at + 0.0300:.4f} > P. 1:25(24)   ack {own} ttl 64
        {at + 0.0301:.4f} > F. 25:25(0)   ack {own} ttl 64
        {at + 0.0400:.4f} < P. {own}:{own + 1000}(1000) ack 26 ttl 60
        {at + 0.0401:.4f} > R  26:26(0)   ttl 64
    """
    )


def test_who_is_greeted_and_leaves_has_seen_what_it_wanted():
    """As a monitor does; who asks first, and leaves at once, loses the answer."""
    assert loud("".join(looks_in(40001 + n, 20 * n, first=True) for n in range(4))) == set()
    assert loud("".join(looks_in(40001 + n, 20 * n, first=False) for n in range(4))) == {"closed_with_unread_data"}


def test_some_connections_that_never_open_among_others_that_do_are_dropped_somewhere():
    """As of one dead machine behind an address: nothing holds ports there."""
    some = "".join(ended(40001 + n, 5 * n) for n in range(12)) + "".join(
        refused(40021 + n, 5 * n + 2) for n in range(4)
    )
    assert told(some + "end 90\n") == [("syn_filtered", "possible")]
    few = "".join(ended(40001 + n, 5 * n) for n in range(12)) + refused(40021, 2)
    assert told(few + "end 90\n")[:1] != [("syn_filtered", "possible")]


def answered_and_reset(missing):
    """An answer with a FIN, of which the client's RST acknowledges all but the last bytes."""
    return (
        opened(40001, 0, ask=False)
        + f"""
        0.0300 > P. 1:518(517)    ack 1   ttl 64
        0.0400 < P. 1:161(160)    ack 518 ttl 60
        0.0401 < F. 161:161(0)    ack 518 ttl 60
        0.0402 > R. 518:518(0)    ack {161 - missing} ttl 64
    """
    )


def test_a_client_that_resets_when_it_has_all_of_the_answer_loses_nothing():
    """Its server's FIN alone is not acknowledged."""
    assert loud(answered_and_reset(0)) == set()
    assert "closed_with_unread_data" in loud(answered_and_reset(160))


def sent_twice(after):
    """A transfer over 20 ms; of each seven segments one is sent again on duplicate ACKs, and acknowledged so soon."""
    lines, t, seq = opened(40001, 0, ask=False, way=0.02), 0.1, 1
    for _ in range(30):
        for k in range(7):
            lines += f"{t + 0.0001 * k:.4f} > . {seq + 1000 * k}:{seq + 1000 * k + 1000}(1000) ack 1\n"
        for k in range(4):
            lines += f"{t + 0.02 + 0.0001 * k:.4f} < . 1:1(0) ack {seq}\n"
        lines += f"{t + 0.0210:.4f} > . {seq}:{seq + 1000}(1000) ack 1\n"
        for k, acked, ms in ((0, 4000, 3), (1, 2000, 1), (2, 3000, 2)):  # the ACKs overtake one another, too
            stamp = round(1000 * t) + ms
            lines += f"{t + 0.0210 + after + 0.0001 * k:.4f} < . 1:1(0) ack {seq + acked} <ts {stamp}/9>\n"
        lines += f"{t + 0.0600:.4f} < . 1:1(0) ack {seq + 7000}\n"
        t, seq = t + 0.1, seq + 7000
    return lines


def test_what_is_acknowledged_before_its_repetition_can_have_come_was_only_overtaken():
    """Two ways of unlike length lose nothing."""
    assert "path_loss" not in loud(sent_twice(0.002))
    assert "path_loss" in loud(sent_twice(0.0205))


def portions(first, pace):
    """A client that takes ``first`` bytes at once, and then 10,000 at these distances; its window holds 20,000."""
    lines, t = opened(40001, 0, ask=False) + "0.0300 > P. 1:101(100) ack 1 win 20000\n", 0.05
    seq = 1
    while seq < first:
        lines += f"{t:.4f} < . {seq}:{seq + 10000}(10000) ack 101\n"
        seq += 10000
        lines += f"{t + 0.0101:.4f} > . 101:101(0) ack {seq} win {0 if seq >= first else 20000}\n"
        t += 0.0202
    for gap in pace:
        lines += f"{t + 0.3:.4f} < . {seq - 1}:{seq - 1}(0) ack 101\n{t + 0.3001:.4f} > . 101:101(0) ack {seq} win 0\n"
        t += gap
        lines += f"{t:.4f} > . 101:101(0) ack {seq} win 10000\n{t + 0.01:.4f} < . {seq}:{seq + 10000}(10000) ack 101\n"
        seq += 10000
        lines += f"{t + 0.0102:.4f} > . 101:101(0) ack {seq} win 0\n"
    return lines


def test_a_player_with_a_full_buffer_takes_little_at_a_steady_pace():
    """Who is slow from the start, or stops now and then, cannot keep up."""
    assert loud(portions(200_001, [1.0] * 12)) == set()
    assert loud(portions(20_001, [1.0] * 12)) == {"receiver_slow"}
    assert loud(portions(200_001, [0.5, 4, 1, 2.5, 0.6, 6, 1.2, 3])) == {"receiver_slow"}
    assert loud(portions(200_001, [1.0] * 3)) == set(), "no pace can be seen yet"
    assert loud(portions(200_001, [1.0, 1.0, 9.0])) == {"receiver_slow"}
    assert loud(portions(20_001, [1.0] * 3)) == {"receiver_slow"}


def cut_at(port, at, ttl, after, side="<"):
    """A second request, and an RST so long after it: in the server's name, or in the client's own."""
    return (
        opened(port, at, way=0.05, ttl=60 if side == "<" else 64)
        + f"""
        {at + 1.0000:.4f} > P. 101:201(100) ack 201 ttl 64
        {at + 1.0000 + after:.4f} {side} R. 201:201(0) ack 201 ttl {ttl}
    """
    )


@pytest.mark.parametrize("side", "<>")
def test_a_reset_from_elsewhere_that_comes_too_soon_was_injected(side):
    """Sooner than the server can have answered, or before the client can know why it aborts."""
    soon = 0.01 if side == "<" else 0.0005
    assert told("".join(cut_at(40001 + n, 3 * n, 250, soon, side) for n in range(3))) == [("reset_injected", "likely")]
    own = "".join(cut_at(40001 + n, 3 * n, 60 if side == "<" else 64, soon, side) for n in range(3))
    assert ("reset_injected", "likely") not in [(d.cause, d.confidence) for d in diagnoses(own)]
    late = "".join(cut_at(40001 + n, 3 * n, 250, 0.2, side) for n in range(3))
    assert ("reset_injected", "likely") not in [(d.cause, d.confidence) for d in diagnoses(late)]


def test_a_reset_that_is_ahead_of_its_senders_request_was_injected():
    """What it had said before is no request of which it could tell."""
    ahead = """
        1.0000 > R. 201:201(0) ack 201 ttl 250
        1.0001 > P. 101:201(100) ack 201 ttl 64
        1.0002 < .  201:201(0) ack 101 ttl 60
        1.0200 > R  201:201(0) ttl 64
    """
    assert told(opened(40001, 0) + ahead) == [("reset_injected", "likely")]


def test_who_stands_still_for_long_once_is_no_player():
    """As a printer without paper."""
    assert loud(portions(200_001, [1.0] * 6 + [40.0] + [1.0] * 6)) == {"receiver_slow"}


def probed(port, at, last):
    """A client that has its answer and closes; the server's system asks each 45 s whether it is there."""
    return (
        opened(port, at)
        + f"""
        {at + 0.06:.4f} > F. 101:101(0) ack 201 ttl 64
        {at + 0.07:.4f} < .  201:201(0) ack 102 ttl 60
        {at + 45.07:.4f} < . 200:200(0) ack 102 ttl 60
        {at + 45.08:.4f} > . 102:102(0) ack 201 ttl 64
        {at + 90.07:.4f} < {last} ack 102 ttl 60
        {at + 90.08:.4f} > R 201:201(0) ttl 64
        """
    )


def test_a_socket_that_only_a_keepalive_ends_had_leaked():
    """The application had not closed; one that closes late does not leak."""
    leaked = "".join(probed(40001 + n, n, ". 200:200(0)") for n in range(5))
    assert told(leaked) == [("close_wait_leak", "likely")]
    late = "".join(probed(40001 + n, n, "F. 201:201(0)") for n in range(5))
    assert "close_wait_leak" not in {d.cause for d in diagnoses(late)}


def test_a_window_that_is_waited_for_in_each_round_trip_is_too_small():
    """Though its waits follow one another without a pause: what is sent in between comes in pieces of its size."""
    lines, seq = opened(40001, 0, ask=False, way=0.04) + "0.1000 < . 1:1(0) ack 1 win 500\n", 1
    for n in range(60):
        t = 0.2 + 0.08 * n
        lines += f"{t:.4f} > P. {seq}:{seq + 500}(500) ack 1\n"
        seq += 500
        lines += f"{t + 0.0799:.4f} < . 1:1(0) ack {seq} win 500\n"
    assert ("window_limited", "medium") in [(d.cause, d.severity) for d in diagnoses(lines)]
    assert "window_limited" not in {d.cause for d in diagnoses(lines.replace("win 500", "win 50000"))}


def stood(port, at):
    """Two requests that are lost behind here, each sent again half a second later."""
    lines, t = opened(port, at, ask=False), at + 0.1
    for n in range(2):
        a, b = 1 + 100 * n, 1 + 200 * n
        for wait in (0, 0.45):
            lines += f"{t + wait:.4f} > P. {a}:{a + 100}(100) ack {b}\n"
        lines += f"{t + 0.46:.4f} < P. {b}:{b + 200}(200) ack {a + 100}\n"
        lines += f"{t + 0.47:.4f} > . {a + 100}:{a + 100}(0) ack {b + 200}\n"
        t += 0.6
    return lines


def test_a_second_in_most_connections_is_more_than_low():
    """In a few of many it is ordinary loss."""
    text = "".join(stood(40001 + n, 3 * n) for n in range(7))
    assert loud(text) == {"path_loss"}
    assert loud("".join(stood(40001 + n, 3 * n) for n in range(3))) == set()
    assert loud(text + "".join(ended(40101 + n, n) for n in range(30))) == set()


def thinned(port, at, every):
    """Fifty requests, of which each so many one is lost behind here and sent again 200 ms later."""
    lines, t = opened(port, at, ask=False), at + 0.1
    for n in range(50):
        a, b = 1 + 100 * n, 1 + 200 * n
        for wait in (0, 0.21) if n % every == 0 else (0,):
            lines += f"{t + wait:.4f} > P. {a}:{a + 100}(100) ack {b}\n"
        t += 0.22 if n % every == 0 else 0.01
        lines += (
            f"{t:.4f} < P. {b}:{b + 200}(200) ack {a + 100}\n{t + 0.001:.4f} > . {a + 100}:{a + 100}(0) ack {b + 200}\n"
        )
        t += 0.02
    return lines


def test_a_path_that_loses_much_in_all_connections_is_more_than_low():
    """Each waits for less than half a second at a time; where little is lost, that is ordinary."""
    assert loud("".join(thinned(40001 + n, 4 * n, 10) for n in range(4))) == {"path_loss"}
    assert loud("".join(thinned(40001 + n, 4 * n, 25) for n in range(4))) == set()


def held_now_and_then(every):
    """Requests answered at once; of each so many one is in two pieces, the second right behind a late ACK."""
    lines, t, a, b = opened(40001, 0, ask=False), 0.1, 1, 1
    for n in range(60):
        if n % every == 0:
            lines += f"{t:.4f} > P. {a}:{a + 90}(90) ack {b}\n{t + 0.21:.4f} < . {b}:{b}(0) ack {a + 90}\n"
            t, a = t + 0.2101, a + 90
        lines += f"{t:.4f} > P. {a}:{a + 80}(80) ack {b}\n{t + 0.0110:.4f} < P. {b}:{b + 200}(200) ack {a + 80}\n"
        lines += f"{t + 0.0111:.4f} > . {a + 80}:{a + 80}(0) ack {b + 200}\n"
        t, a, b = t + 0.3, a + 80, b + 200
    return lines


def test_a_few_words_that_go_out_with_a_late_ack_may_have_been_said_just_then():
    """They are possible and low; where most wait so, nobody speaks so by chance."""
    (few,) = [d for d in diagnoses(held_now_and_then(12)) if d.cause == "nagle_delayed_ack"]
    assert (few.confidence, few.severity) == ("possible", "low")
    assert loud(held_now_and_then(2)) == {"nagle_delayed_ack"}


def in_pieces(*pieces):
    """Requests in pieces: how long after the first each is sent, and is acknowledged, if it is by itself."""
    lines, t, a, b = opened(40001, 0, ask=False), 0.1, 1, 1
    for _ in range(30):
        for sent, acked in pieces:
            lines += f"{t + sent:.4f} > P. {a}:{a + 300}(300) ack {b}\n"
            a += 300
            lines += f"{t + acked:.4f} < . {b}:{b}(0) ack {a}\n" if acked else ""
        lines += f"{t + 0.2:.4f} < P. {b}:{b + 200}(200) ack {a}\n"
        t, b = t + 0.3, b + 200
    return lines


def test_who_does_not_wait_for_acks_is_not_held_back_by_them():
    """Nagle's algorithm lets no second short segment out: of one that sends such, some go out with an ACK by chance."""
    held = in_pieces((0.0, 0.07), (0.0701, 0.12))
    assert "nagle_delayed_ack" in {d.cause for d in diagnoses(held)}
    free = in_pieces((0.0, 0.0), (0.02, 0.07), (0.0701, 0.12))
    assert "nagle_delayed_ack" not in {d.cause for d in diagnoses(free)}


def queued(window):
    """A window of so many times 128 bytes, full, in front of a line that takes 1,400 bytes each 5 ms."""
    syns = "0.0 > S 0:0(0) <mss 1460,scale 7>\n0.03 < S. 0:0(0) ack 1 <mss 1460,scale 7>\n0.0301 > . 1:1(0) ack 1\n"
    lines, ahead = syns + f"0.1000 < . 1:1(0) ack 1 win {window}\n", window * 128 // 1400
    for n in range(400 + ahead):
        if n < 400:
            lines += f"{0.2 + max(0, n - ahead) * 0.005:.4f} > . {1 + 1400 * n}:{1401 + 1400 * n}(1400) ack 1\n"
        if n >= ahead:
            at = 0.2 + (n - ahead + 1) * 0.005 - 0.0001
            lines += f"{at:.4f} < . 1:1(0) ack {1401 + 1400 * (n - ahead)} win {window}\n"
    return lines


def test_a_window_that_fills_a_queue_limits_nothing():
    """With more of it as much would come through; nor is it small, though its field without its scale is."""
    assert told(queued(859)) == []


def pooled(until):
    """Three idle connections that the server closes, and the client only acknowledges."""
    ends = "".join(
        opened(40001 + n, n) + f"{n + 20.0:.4f} < F. 201:201(0) ack 101\n{n + 20.01:.4f} > . 101:101(0) ack 202\n"
        for n in range(3)
    )
    return ends + opened(40010, until - 1)


def test_a_pool_closes_at_its_next_use_what_its_server_has_closed():
    """Until then it leaks nothing, and its server hangs in nothing."""
    assert loud(pooled(70)) == set()
    assert loud(pooled(300)) == {"close_wait_leak"}


def test_a_copy_in_the_capture_is_no_repetition():
    """Without numbers of packets, and between others, copies of data and of ACKs look like a loss and its repair."""
    lines, a = "0.0 > S 0:0(0) id 50\n0.01 < S. 0:0(0) ack 1\n0.02 > . 1:1(0) ack 1 id 51\n", 101
    lines += "0.15 > P. 1:101(100) ack 1 id 52\n0.1501 > P. 1:101(100) ack 1 id 52\n"
    for n in range(60):
        train = [f"> . {a + k}:{a + k + 1000}(1000) ack 1" for k in (0, 1000, 2000)]
        around = [*train, *[f"< . 1:1(0) ack {a}"] * 3, *train]
        lines += "".join(f"{0.2 + 0.02 * n + 0.00001 * i:.5f} {x}\n" for i, x in enumerate(around))
        a += 3000
        lines += f"{0.2 + 0.02 * n + 0.01:.4f} < . 1:1(0) ack {a}\n"
    assert "path_loss" not in {d.cause for d in diagnoses(lines)}
