"""Causes that the rest of the capture decides: who was open at the same time, and how many fared alike."""

from __future__ import annotations

import pytest

from tests.test_causes import diagnoses

pytestmark = pytest.mark.plain


def opened(port, at, *, ttl=60, way=0.01, ask=True):
    """A connection of a port's own that opens at a time, asks 100 bytes and gets 200."""
    lines = f"""
        port {port} 80
        {at:.4f} > S  0:0(0)            ttl 64
        {at + way:.4f} < S. 0:0(0) ack 1 ttl {ttl}
        {at + way + 0.0001:.4f} > .  1:1(0) ack 1 ttl 64
    """
    if ask:
        lines += f"""
        {at + 0.0300:.4f} > P. 1:101(100) ack 1   ttl 64
        {at + 0.0400:.4f} < P. 1:201(200) ack 101 ttl {ttl}
        {at + 0.0500:.4f} > .  101:101(0) ack 201 ttl 64
    """
    return lines


def reset(port, at, *, ttl=60, seq=201):
    """Its next request, and the RST that answers it."""
    return f"""
        port {port} 80
        {at:.4f} > P. 101:201(100) ack {seq} ttl 64
        {at + 0.01:.4f} < R {seq}:{seq}(0) ttl {ttl}
    """


def closed(port, at):
    """Its orderly end."""
    return f"""
        port {port} 80
        {at:.4f} > F. 101:101(0) ack 201 ttl 64
        {at + 0.01:.4f} < F. 201:201(0) ack 102 ttl 60
        {at + 0.02:.4f} > .  102:102(0) ack 202 ttl 64
    """


def told(text):
    """What is said first: cause and confidence."""
    return [(d.cause, d.confidence) for d in diagnoses(text)][:1]


IDLE = "".join(opened(40001 + n, n) for n in range(3)) + opened(40009, 3)


def test_idle_connections_that_were_reset_together_while_another_lives_on_were_forgotten():
    """Their host was not restarted: what was open with it at that time went on."""
    ends = "".join(reset(40001 + n, 70 + n) for n in range(3))
    assert told(IDLE + ends + closed(40009, 80)) == [("idle_timeout_in_path", "likely")]
    assert told(IDLE + ends) == [("idle_timeout_in_path", "possible")]


def test_who_answers_others_while_one_is_repeated_after_a_silence_is_not_gone():
    """What is repeated in vain was idle before, and the host is there."""
    again = "port 40001 80\n" + "".join(f"{t} > P. 101:201(100) ack 201\n" for t in (400, 400.3, 400.9, 402.1, 404.5))
    for more, said in ((opened(40100, 403), "likely"), ("", "possible")):
        found = diagnoses(opened(40001, 0) + again + more + "end 410\n")[0]
        assert (found.cause, found.confidence) == ("idle_timeout_in_path", said)
        assert ("peer_vanished" in found.alternatives) == (not more)


def test_connections_that_were_reset_while_they_worked_tell_of_a_restart():
    """All of a host's, idle or not, within a minute."""
    ends = "".join(reset(40001 + n, 70 + n) for n in range(3))
    at_work = opened(40009, 68) + reset(40009, 71)
    assert told(IDLE[: IDLE.index("port 40009")] + at_work + ends)[0][0] == "endpoint_restarted"


def test_a_keepalive_may_be_the_first_word_after_the_silence():
    """It is answered by RST; where those before it were answered, there was no silence."""
    probe = "400.0 > . 100:100(0) ack 201 ttl 64\n400.01 < R 201:201(0) ttl 60\n"
    assert told(opened(40001, 0) + probe)[0][0] == "idle_timeout_in_path"
    answered = "".join(
        f"{t}.0 > . 100:100(0) ack 201 ttl 64\n{t}.01 < . 201:201(0) ack 101 ttl 60\n" for t in range(20, 400, 20)
    )
    assert "idle_timeout_in_path" not in [d.cause for d in diagnoses(opened(40001, 0) + answered + probe)]


def test_who_answered_no_keepalive_for_a_while_was_away():
    """What has forgotten a connection answers the first; and where nobody answers any, nobody is back."""
    probes = "".join(f"{t}.0 > . 100:100(0) ack 201 ttl 64\n" for t in (90, 100, 110, 120))
    assert told(opened(40001, 0) + probes + "120.01 < R 201:201(0) ttl 60\n")[0] == ("endpoint_restarted", "likely")
    first = probes.split("\n")[0] + "\n90.01 < R 201:201(0) ttl 60\n"
    assert told(opened(40001, 0) + first)[0] == ("idle_timeout_in_path", "possible")
    assert "endpoint_restarted" not in [d.cause for d in diagnoses(opened(40001, 0) + probes)]


def test_another_host_answers_for_all_connections_in_the_midst_of_their_work():
    """RSTs of a system that knows none of them, from farther away; a single one may be anything."""
    many = "".join(opened(40001 + n, n / 10) + reset(40001 + n, 1 + n / 10, ttl=58) for n in range(4))
    assert told(many) == [("endpoint_restarted", "possible")]
    assert diagnoses(many)[0].where == "path"
    assert told(opened(40001, 0) + reset(40001, 1, ttl=58)) == []


def test_a_reset_from_elsewhere_ahead_of_what_its_sender_had_said_is_injected():
    """It overtook the request that a box objects to, and its TTL is not the client's."""
    request = """
        1.000 > R 201:201(0) ttl 120
        1.001 > P. 101:201(100) ack 201 ttl 64
        1.002 < . 201:201(0) ack 101 ttl 60
        1.020 < P. 201:401(200) ack 201 ttl 60
        1.030 > R 201:201(0) ttl 64
    """
    assert told(opened(40001, 0) + request) == [("reset_injected", "likely")]
    own = request.replace("ttl 120", "ttl 64")
    assert "reset_injected" not in [d.cause for d in diagnoses(opened(40001, 0) + own)]


def twice(port, at, *, way):
    """A SYN that is answered at once here and repeated a second later; ``way`` to the client and back."""
    return f"""
        port {port} 80
        {at:.4f} > S  0:0(0)             ttl 60
        {at + 0.0001:.4f} < S. 0:0(0) ack 1 ttl 64
        {at + 1:.4f} > S  0:0(0)         ttl 60
        {at + 1.0001:.4f} < S. 0:0(0) ack 1 ttl 64
        {at + 1.0001 + way:.4f} > .  1:1(0) ack 1 ttl 60
        {at + 1.0002 + way:.4f} > P. 1:101(100) ack 1 ttl 60
        {at + 1.0100 + way:.4f} < P. 1:201(200) ack 101 ttl 64
        {at + 1.0100 + 2 * way:.4f} > . 101:101(0) ack 201 ttl 60
    """


def test_the_first_answer_of_one_connection_after_the_other_is_lost():
    """Near the server; not where the client is so far away that it asked again before the answer came."""
    lost = "".join(twice(40001 + n, 4 * n, way=0.03) for n in range(4))
    assert told(lost) == [("handshake_lost_in_path", "possible")]
    assert told(twice(40001, 0, way=0.03)) == []
    assert told("".join(twice(40001 + n, 4 * n, way=0.9) for n in range(4))) == []


def mute(port, at):
    """A connection that opens, and a request that is acknowledged and not answered."""
    return (
        opened(port, at, ask=False)
        + f"""
        {at + 0.03:.4f} > P. 1:101(100) ack 1 ttl 64
        {at + 0.04:.4f} < .  1:1(0) ack 101   ttl 60
    """
    )


def refused(port, at):
    """A SYN that nobody answers."""
    return f"port {port} 80\n" + "".join(f"{at + t:.4f} > S 0:0(0) ttl 64\n" for t in (0, 1, 3, 7))


def test_new_connections_fail_to_a_service_that_answers_none_of_those_that_opened():
    """Its application takes none of them, and the queue is full; where they are answered a translation may be full."""
    failing = "".join(refused(40011 + n, 2 + n) for n in range(5)) + "end 30\n"
    assert told("".join(mute(40001 + n, n / 2) for n in range(3)) + failing)[0][0] == "accept_queue_full"
    assert told("".join(opened(40001 + n, n / 2) for n in range(3)) + failing)[0][0] == "nat_ports_exhausted"


def dropped(port, at):
    """A connection that is reset right after its handshake."""
    return opened(port, at, ask=False) + f"{at + 0.02:.4f} < R 1:1(0) ttl 60\n"


def test_a_listener_that_closes_resets_what_waits_in_its_queue():
    """Whoever comes next is refused; where others are served a moment later, the queue was full."""
    before = "".join(opened(40001 + n, n / 2) for n in range(4)) + dropped(40009, 3)
    gone = "".join(f"port {40021 + n} 80\n{4 + n}.0 > S 0:0(0)\n{4 + n}.01 < R. 0:0(0) ack 1\n" for n in range(4))
    assert told(before + gone)[0][0] == "nothing_listens"
    assert told(before + opened(40031, 4) + opened(40032, 5))[0][0] == "accept_queue_full"


def late_rest(rest):
    """Answers of two full segments and a rest, which comes so much later, and the same for a client's next requests."""
    lines, at, said = opened(40001, 0, way=0.04, ask=False), 0.1, 1
    for n in range(12):
        ask = 1 + 100 * n
        lines += f"""
        {at:.4f} > P. {ask}:{ask + 100}(100) ack {said}
        {at + 0.0400:.4f} < .  {said}:{said}(0) ack {ask + 100}
        {at + 0.0420:.4f} < .  {said}:{said + 1448}(1448) ack {ask + 100}
        {at + 0.0421:.4f} < .  {said + 1448}:{said + 2896}(1448) ack {ask + 100}
        {at + 0.0422:.4f} > .  {ask + 100}:{ask + 100}(0) ack {said + 2896}
        {at + 0.0422 + rest:.4f} < P. {said + 2896}:{said + 3300}(404) ack {ask + 100}
        {at + 0.0423 + rest:.4f} > .  {ask + 100}:{ask + 100}(0) ack {said + 3300}
        """
        at, said = at + 0.35, said + 3300
    return lines


def test_what_comes_long_after_its_neighbours_was_sent_again():
    """Of a loss before the capture point only the repetition is seen; one round trip later it was let go by an ACK."""
    assert told(late_rest(0.21)) == [("path_loss", "possible")]
    assert told(late_rest(0.04)) == []


def test_what_comes_late_while_another_connection_fills_the_line_waits_in_its_queue():
    """Another download between the hosts goes on meanwhile; a small one tells nothing."""
    text = late_rest(0.21)
    at = max(float(line.split()[0]) for line in text.splitlines() if line.strip()[:1].isdigit())
    opening = "port 40200 80\n0 > S 0:0(0)\n0 < S. 0:0(0) ack 1\n0 > . 1:1(0) ack 1\n"
    for size, said in ((3000, []), (30, [("path_loss", "possible")])):
        more = "".join(
            f"{at + n / 1000:.4f} < . {1 + n * size}:{1 + (n + 1) * size}({size}) ack 1\n" for n in range(100)
        )
        assert told(opening + "port 40001 80\n" + text + "port 40200 80\n" + more) == said


def test_what_the_capture_lacks_was_not_lost_on_its_way():
    """A full segment is acknowledged and never seen: what comes after a pause may be the last of several such."""
    text = late_rest(0.21)
    full = [line for line in text.splitlines() if "(1448) ack" in line]
    assert "path_loss" not in [d.cause for d in diagnoses(text.replace(full[-2] + "\n", ""))]


def test_an_application_may_go_on_a_minute_later():
    """No sender waits for so long before it repeats."""
    text = late_rest(0.21)
    at = max(float(line.split()[0]) for line in text.splitlines() if line.strip()[:1].isdigit())
    more = f"""
        {at + 1:.4f} > P. 1201:1301(100) ack 39601
        {at + 1.0400:.4f} < .  39601:41049(1448) ack 1301
        {at + 1.0401:.4f} > .  1301:1301(0) ack 41049
        {at + 61:.4f} < P. 41049:41449(400) ack 1301
        {at + 61.0001:.4f} > .  1301:1301(0) ack 41449
    """
    assert "path_loss" not in [d.cause for d in diagnoses(text + more)]


def answer(port, at, *, bad):
    """A client that asks again and again, and SYN+ACKs that pass."""
    word = "bad" if bad else ""
    return f"port {port} 80\n" + "".join(
        f"{at + t:.4f} > S 0:0(0) ttl 64\n{at + t + 0.01:.4f} < S. 0:0(0) ack 1 ttl 60 {word}\n" for t in (0, 1, 3, 7)
    )


@pytest.mark.parametrize(("bad", "cause"), [(True, "damaged_in_path"), (False, "handshake_lost_in_path")])
def test_answers_with_wrong_checksums_are_dropped_by_the_client(bad, cause):
    """What passes right and has no effect is lost behind the capture point."""
    assert told(answer(40001, 0, bad=bad) + "end 30\n")[0][0] == cause


def test_answers_with_wrong_checksums_of_a_host_next_door_are_left_to_its_card():
    """No router has passed them on."""
    near = answer(40001, 0, bad=True).replace("ttl 60", "ttl 64") + "end 30\n"
    assert "damaged_in_path" not in [d.cause for d in diagnoses(near)]


def test_a_connection_gets_another_name_in_its_midst():
    """Its numbers go on from another port; those of nobody are no other connection's."""
    moved = """
        port 50001 80
        2.0000 > P. 101:201(100) ack 201 ttl 60
        2.0001 < R  201:201(0) ttl 64
    """
    found = diagnoses(opened(40001, 0) + moved)
    assert [(d.cause, d.confidence) for d in found] == [("nat_not_undone", "likely")]
    strange = diagnoses(opened(40001, 0) + "isn 777777777 5000\n" + moved)
    assert "nat_not_undone" not in [d.cause for d in strange]


def cut_off(*, others):
    """A server that is silent from the third second on: to a connection that works, and to SYNs for another port."""
    copies = "".join(f"{t} > P. 101:201(100) ack 201 ttl 64\n" for t in (3.0, 3.3, 3.9, 5.1, 7.5, 12.3))
    again = "".join(f"{t} > S 0:0(0) ttl 64\n" for t in (5.0, 6.0, 8.0, 12.0))
    alive = opened(40044, 9).replace(" 80\n", " 443\n", 1) if others else ""
    return opened(40001, 0) + copies + f"port 40022 22\n{again}" + alive + "end 40\n"


def test_a_host_that_is_gone_filters_nothing():
    """What was open with it stands still; where another port is answered meanwhile, this one is filtered."""
    assert "syn_filtered" not in [d.cause for d in diagnoses(cut_off(others=False))]
    assert "syn_filtered" in [d.cause for d in diagnoses(cut_off(others=True))]


def test_who_hangs_in_its_work_does_not_close_either():
    """The request that has no answer comes first; without one the socket leaks."""
    stuck = "".join(
        opened(40001 + n, n)
        + f"""
        {n + 0.2:.1f} > P. 101:301(200) ack 201 ttl 64
        {n + 0.21:.2f} < . 201:201(0) ack 301 ttl 60
        {n + 15}.0 > F. 301:301(0) ack 201 ttl 64
        {n + 15}.01 < . 201:201(0) ack 302 ttl 60
        """
        for n in range(3)
    )
    assert told(stuck + "end 90\n") == [("request_unanswered", "likely")]
    idle = stuck
    for n in range(3):
        idle = idle.replace(f"{n + 0.2:.1f} > P. 101:301(200) ack 201 ttl 64\n", "")
        idle = idle.replace(f"{n + 0.21:.2f} < . 201:201(0) ack 301 ttl 60\n", "")
    idle = idle.replace("301:301", "101:101").replace("ack 302", "ack 102")
    assert told(idle + "end 90\n")[0][0] == "close_wait_leak"


def outage(size):
    """A large segment and a small one, lost with its first copies; the small one's next copy comes, a reset at last."""
    end = 101 + size
    copies = "".join(f"{t} > . 101:{end}({size}) ack 201 ttl 64\n" for t in (1.0, 1.3, 1.9, 3.1, 5.5, 10.3))
    return (
        opened(40001, 0)
        + f"""
        {copies}
        11.0 > P. {end}:{end + 200}(200) ack 201 ttl 64
        11.01 < . 201:201(0) ack 101 ttl 60 <sack {end}:{end + 200}>
        19.9 > . 101:{end}(1400) ack 201 ttl 64
        19.91 < R 201:201(0) ttl 60
        end 40
    """
    )


def test_an_outage_is_no_question_of_size():
    """What had been repeated in vain drew a reset at last: it arrived."""
    assert "mtu_black_hole" not in [d.cause for d in diagnoses(outage(1400))]
    vain = outage(1400).replace("19.91 < R 201:201(0) ttl 60", "29.9 > . 101:1501(1400) ack 201 ttl 64")
    assert told(vain)[0][0] == "mtu_black_hole"


def lossy(port, at):
    """Its next request, which has to be sent five times."""
    copies = "".join(f"{at + d:.3f} > P. 101:201(100) ack 201 ttl 64\n" for d in (0.1, 0.31, 0.73, 1.57, 3.25))
    return opened(port, at) + copies + f"{at + 3.26:.3f} < . 201:201(0) ack 201 ttl 60\n"


@pytest.mark.parametrize(
    ("ports", "words"),
    [
        ((40001,), "loses segments: 4 sent again"),
        ((40001, 40002), "in 2 connections between these hosts: 6.3 s in all"),
    ],
)
def test_the_losses_of_one_path_add_up(ports, words):
    (found,) = diagnoses("".join(lossy(port, 10 * n) for n, port in enumerate(ports)) + "end 30\n")
    assert (found.cause, len(found.connections)) == ("path_loss", len(ports))
    assert words in found.message


@pytest.mark.parametrize(("ignored", "causes"), [(2, []), (3, ["handshake_lost_in_path"])])
def test_one_repeated_synack_needs_three_segments_that_had_no_effect(ignored, causes):
    """Of two the second may be late. Data are among them."""
    data = "".join(f"{0.03 + 0.3 * n:.3f} > P. 1:101(100) ack 1\n" for n in range(ignored - 1))
    begun = "0 > S 0:0(0)\n0.01 < S. 0:0(0) ack 1\n0.02 > . 1:1(0) ack 1\n"
    assert [
        d.cause for d in diagnoses(begun + data + "1.02 < S. 0:0(0) ack 1\n1.03 > . 1:1(0) ack 1\nend 30\n")
    ] == causes


def test_who_never_had_a_connection_has_not_lost_it():
    """A server that repeats its SYN+ACK, whatever comes, and resets in the end has given up an offer."""
    refused = "0 > S 0:0(0)\n0.01 < S. 0:0(0) ack 1\n0.02 > . 1:1(0) ack 1\n0.03 > P. 1:101(100) ack 1\n"
    refused += "".join(f"{t} < S. 0:0(0) ack 1\n{t}1 > P. 1:101(100) ack 1\n" for t in ("1.0", "3.0", "7.0", "15.0"))
    refused += "40.0 > P. 1:101(100) ack 1\n40.01 < R 1:1(0)\n"
    assert "endpoint_restarted" not in [d.cause for d in diagnoses(refused)]


def test_of_whom_nothing_shows_that_it_was_answered_the_capture_lacks_no_direction():
    """SYNs without an answer beside one connection of which the ACKs of one side alone are there."""
    half = "port 50000 80\n0.010 < S. 0:0(0) ack 1\n0.040 < P. 1:201(200) ack 101\n0.050 < F. 201:201(0) ack 101\n"
    syns = "".join(f"port {40000 + n} 81\n{n}.0 > S 0:0(0)\n" for n in range(5))
    (found,) = (d for d in diagnoses(half + syns + "end 30\n") if d.cause == "capture_one_sided")
    assert (found.connections, found.of) == ((0,), 7)  # one more for the end
    assert "of 1 of 7 connections" in found.message


def test_all_of_whom_the_same_is_said_suffer_together_whoever_said_it():
    """Of one of six SYNs without an answer a rule speaks that saw its ICMP error; of the others a kernel."""
    error = "3.01 > icmp 4/0 0\n"
    syns = [f"port {40000 + n} 81\n{n}.0 > S 0:0(0)\n{error if n == 3 else ''}" for n in range(6)]
    (found,) = (d for d in diagnoses("".join(syns) + "end 90\n") if d.cause != "capture_disordered")
    assert found.connections == (0, 1, 2, 3, 4, 5)


def test_a_reset_from_nearer_that_answers_data_at_once_may_be_a_boxs():
    """Its sender had only just spoken, from farther away. Of one that had been silent it may be anybody's."""
    again = """
        {0:.2f} > P. 101:201(100) ack 201 ttl 64
        {1:.3f} < R 201:201(0) ttl 64
    """
    assert told(opened(40001, 0) + again.format(0.5, 0.501)) == [("reset_injected", "possible")]
    assert "reset_injected" not in [d.cause for d in diagnoses(opened(40001, 0) + again.format(20, 20.001))]


def test_who_is_refused_by_a_listener_that_had_accepted_somebody_just_before():
    """All that come after are refused: it is gone. Where it accepts somebody again, several may share the address."""
    refused = "port {0} 80\n{1} > S 0:0(0) ttl 64\n{1}1 < R. 0:0(0) ack 1 ttl 60\n"
    gone = opened(40001, 0) + refused.format(40002, 0.5) + refused.format(40003, 0.6)
    assert told(gone) == [("nothing_listens", "possible")]
    assert told(gone + opened(40004, 0.7)) == []
    assert told(opened(40001, 0) + refused.format(40002, 0.5)) == []


def test_where_a_server_keeps_many_open_the_latest_ones_count_as_well():
    """Those that are left for 30 s show what becomes of the others; one that was closed a second ago may still end."""
    left = """
        port {0} 80
        {1}.000 > S  0:0(0)
        {1}.010 < S. 0:0(0)     ack 1
        {1}.020 > .  1:1(0)     ack 1
        {1}.030 > P. 1:101(100) ack 1
        {1}.040 < P. 1:201(200) ack 101
        {1}.050 > F. 101:101(0) ack 201
        {1}.090 < .  201:201(0) ack 102
    """
    begun = (0, 5, 10, 25, 40, 59)
    (told,) = diagnoses("".join(left.format(40000 + at, at) for at in begun) + "end 60\n")
    assert (told.cause, told.count) == ("close_wait_leak", 5)
    assert "5 connections to 10.0.0.2:80 hang" in " ".join(told.evidence_for)
    (few,) = diagnoses("".join(left.format(40000 + at, at) for at in (0, 40)) + "end 60\n")
    assert few.count == 1
