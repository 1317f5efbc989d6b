"""Talks of two applications: who of those that are silent for long is waited for, and who only speaks when it likes."""

from __future__ import annotations

import random

import pytest

from tcptrace_fsm.findings.rule import SEVERITIES
from tests.test_causes import diagnoses

pytestmark = pytest.mark.plain

OPENED = """
    0.000 > S  0:0(0)
    0.020 < S. 0:0(0)     ack 1
    0.020 > .  1:1(0)     ack 1
"""
CLIENT, SERVER = ">", "<"
WAY = 0.02
"""Seconds from the capture point, at the client's, to the server and back."""


def talk(words, end=None, ack=lambda time: WAY, back=0.0001, opened=OPENED):
    """What two ends say: (seconds, side, bytes) each, acknowledged by the other's next words or before those.

    ``ack`` says how long after its words the client sees them acknowledged, ``back`` the server.
    """
    lines, said = [], {CLIENT: 1, SERVER: 1}
    for i, (time, side, length) in enumerate(words):
        other = SERVER if side == CLIENT else CLIENT
        following = words[i + 1] if i + 1 < len(words) else (1e9, None, 0)
        heard = time + (ack(time) if side == CLIENT else back)
        begins, said[side] = said[side], said[side] + length
        for at in range(begins, said[side], 1000):
            upto = min(at + 1000, said[side])
            lines.append(f"{time:.4f} {side} P. {at}:{upto}({upto - at}) ack {said[other]}")
        if following[0] > heard:
            lines.append(f"{heard:.4f} {other} . {said[other]}:{said[other]}(0) ack {said[side]}")
    if end:
        lines.append(f"end {end}")
    return opened + "\n".join(lines)


def asked(*answers, think=0.2, size=100, start=0.1):
    """One request after the other, and how long each answer takes."""
    words, time = [], start
    for took in answers:
        words.append((time, CLIENT, size))
        time += WAY + took
        words.append((time, SERVER, 300))
        time += think
    return words


def own_times(*sides, seed=1):
    """Each side speaks at its own times: (side, bytes, least pause, longest pause, until)."""
    rng, words = random.Random(seed), []
    for side, length, least, longest, until in sides:
        time = rng.uniform(least, longest)
        while time < until:
            words.append((time, side, length))
            time += rng.uniform(least, longest)
    return sorted(words)


def keys(n):
    """A person types a key before the echo of the last has come, and the peer's ACK is held back for 200 ms."""
    lines, time = [], 0.1
    for i in range(n):
        a, b = 1 + 2 * i, 1 + i
        lines += [
            f"{time:.4f} > P. {a}:{a + 1}(1) ack {b}",
            f"{time + 0.22:.4f} < . {b}:{b}(0) ack {a + 1}",
            f"{time + 0.2201:.4f} > P. {a + 1}:{a + 2}(1) ack {b}",
            f"{time + 0.2401:.4f} < P. {b}:{b + 1}(1) ack {a + 2}",
            f"{time + 0.2402:.4f} > . {a + 2}:{a + 2}(0) ack {b + 1}",
        ]
        time += 0.4
    return OPENED + "\n".join(lines)


def by_chance():
    """Words of a stream, two of which go out with the ACK of the words before, 40 ms late."""
    words = [(0.1 + 1.3 * i + 0.11 * (i % 5), CLIENT, 90) for i in range(40)]
    words += [(words[i][0] + 0.0601, CLIENT, 80) for i in (12, 30)]
    return talk(sorted(words), ack=lambda time: 0.06)


def paced(n, way=0.05):
    """Readings at a steady pace, seen at the server's, which holds back each ACK for 40 ms."""
    lines = [
        f"{0.2 + 0.1 * i:.4f} > P. {1 + 90 * i}:{91 + 90 * i}(90) ack 1\n"
        f"{0.24 + 0.1 * i:.4f} < . 1:1(0) ack {91 + 90 * i}"
        for i in range(n)
    ]
    return f"0.0 > S 0:0(0)\n0.0001 < S. 0:0(0) ack 1\n{way} > . 1:1(0) ack 1\n" + "\n".join(lines)


PINGS = [(0.1, CLIENT, 300), (0.13, SERVER, 200)] + [
    word
    for i, took in enumerate((12.2, 17.4, 18.5, 16.9, 15.9, 5.6, 24.7, 14.6, 3.0))
    for word in ((25 * (i + 1), CLIENT, 6), (25 * (i + 1) + took, SERVER, 120))
]
PEERS = own_times((CLIENT, 19, 45, 60, 480), (SERVER, 19, 45, 60, 480), seed=4)
HELLO = [(0.1, CLIENT, 60), (0.13, SERVER, 60)]
ROUTERS = HELLO + own_times((CLIENT, 19, 4.2, 5.8, 180), (SERVER, 19, 4.2, 5.8, 180), seed=5)


def consumer(seed=3, until=90):
    """Messages of a queue at any time, each acknowledged at once, and the heartbeats of both ends."""
    words = own_times((SERVER, 400, 1, 9, until), (SERVER, 8, 5, 5.02, until), (CLIENT, 8, 5.1, 5.12, until), seed=seed)
    return sorted([*HELLO, *words, *[(time + 0.03, CLIENT, 21) for time, side, length in words if length == 400]])


CHAT = [
    *HELLO,
    *((7.0, CLIENT, 91), (14.7, SERVER, 300), (18.0, CLIENT, 200), (21.8, CLIENT, 150), (23.0, SERVER, 400)),
    *((36.0, SERVER, 200), (39.0, CLIENT, 91), (44.0, CLIENT, 120), (53.7, SERVER, 350)),
]
CAPPED = asked(25.001, 25.002, 4.7, 25.001, 25.003, 11.2, think=0.05)


def at_the_server(words, end):
    """The same, seen at the server's, 80 ms from the client."""
    opened = "0.0 > S 0:0(0)\n0.0001 < S. 0:0(0) ack 1\n0.08 > . 1:1(0) ack 1\n"
    return talk(words, end, lambda time: 0.0001, 0.08, opened)


SETUP = asked(0.002, 0.001, size=80)
"""Two requests that are answered at once: most protocols begin so, whatever follows."""
POLL = (0.6, CLIENT, 420)


def closing(text, at, seq, ack, first=CLIENT):
    """The same, and both ends close in order."""
    one, other = (CLIENT, SERVER) if first == CLIENT else (SERVER, CLIENT)
    here, there = (seq, ack) if first == CLIENT else (ack, seq)
    return (
        f"{text}\n{at} {one} F. {here}:{here}(0) ack {there}\n{at + 0.02} {other} F. {there}:{there}(0) ack {here + 1}"
        f"\n{at + 0.04} {one} . {here + 1}:{here + 1}(0) ack {there + 1}"
    )


def later(text, by=12.0, port=40009):
    """The same on another port of the client, so many seconds later."""
    rows = [f"\nport {port} 80"]
    for line in text.split("\n"):
        first, _, rest = line.strip().partition(" ")
        if first == "end":
            rows.append(f"end {float(rest) + by:.4f}")
        elif rest:
            rows.append(f"{float(first) + by:.4f} {rest}")
    return "\n".join(rows)


def several(*answers):
    """Five connections to one service, all answered so."""
    return "".join(later(talk(asked(*answers, think=0.3, size=320)), 2.0 * i, 40001 + i) for i in range(5))


NOBODY_WAITS = {
    "words that nobody answers, and then news": talk([*SETUP, (1.0, CLIENT, 130), (9.0, SERVER, 180)], end=30),
    "messages of a queue at a steady pace, each acknowledged at once in a few words": talk(
        SETUP + [word for i in range(15) for word in ((2 + 2.01 * i, SERVER, 400), (2.003 + 2.01 * i, CLIENT, 21))],
    ),
    "messages of a queue in bursts, each acknowledged at once in a few words": talk(
        SETUP
        + [
            word
            for k in range(24)
            for at in (2 + 9.0 * (k // 6) + 0.05 * (k % 6),)
            for word in ((at, SERVER, 400), (at + 0.003, CLIENT, 21))
        ]
    ),
    "messages that come at any time, each acknowledged in as many words as a request has": talk(
        SETUP
        + [
            word
            for at, side, n in own_times((SERVER, 900, 0.1, 7, 60), seed=7)
            for word in ((2 + at, side, n), (2.03 + at, CLIENT, 95))
        ]
    ),
    "locks that are granted when they are free": talk(
        [
            word
            for i, took in enumerate((0.001, 0.002, 4.3, 0.001, 0.001, 6.8, 0.001, 0.002, 0.001, 0.002))
            for word in ((0.2 + 9.0 * i, CLIENT, 48), (0.22 + 9.0 * i + took, SERVER, 36))
        ]
    ),
    "a poll that its client leaves, beside pages that come at once": several(0.02, 0.03, 0.01)
    + later(closing(talk([*asked(0.01, 0.01, size=300), (2.0, CLIENT, 430)]), 15.37, 1031, 601)),
    "a job for a printer, and a close when it has been printed": closing(
        talk([(0.1 + 0.01 * i, CLIENT, 9000) for i in range(20)]), 14.3, 180_001, 1
    ),
    "a poll that has been answered once, and begins again": talk(
        [*SETUP, POLL, (14.0, SERVER, 300), (14.01, CLIENT, 420)], end=26
    ),
    "a poll that has been answered twice, below its limit": talk(
        [*SETUP, POLL, (7.9, SERVER, 300), (7.91, CLIENT, 420), (29.7, SERVER, 300), (29.71, CLIENT, 420)], end=38
    ),
    "the same beside pages that come at once": several(0.02, 0.03, 0.01)
    + later(talk([POLL, (12.0, SERVER, 300), (12.01, CLIENT, 420), (29.7, SERVER, 300), (29.71, CLIENT, 420)], end=38)),
    "a few words that acknowledge a setting, and a goodbye of the server a minute later": closing(
        talk([*asked(0.02, 0.01, 0.02, size=400), (0.9, CLIENT, 31), (61.0, SERVER, 39)]), 61.1, 1232, 940, SERVER
    ),
    "a connection opened ahead of use: the last words of its handshake, and nothing more": closing(
        talk([(0.1, CLIENT, 517), (0.13, SERVER, 3000), (0.16, CLIENT, 80)]), 30.0, 598, 3001
    ),
    "a request for news that is answered when there are some": talk(
        [*asked(0.01, 0.02, 0.01, 0.01, size=30), (2.0, CLIENT, 11), (71.0, SERVER, 24), (71.01, CLIENT, 6)], end=90
    ),
    "the same, seen far from the client": at_the_server(
        [*asked(0.01, 0.02, 0.01, 0.01, size=30), (2.0, CLIENT, 11), (71.0, SERVER, 24), (71.082, CLIENT, 6)], 90
    ),
    "a poll that is held for 5 s, seen for a few rounds": talk(asked(5.0, 5.001, 4.2, think=0.003, size=110)),
    "a connection that had begun, and whose last words need no answer": "0.1 > P. 1:81(80) ack 1\n"
    "0.12 < . 1:1(0) ack 81\n30.1 > F. 81:81(0) ack 1\n30.12 < F. 1:1(0) ack 82\n30.14 > . 82:82(0) ack 2",
    "peers of which one closes soon after it has heard the other": closing(
        talk([(0.1, CLIENT, 90), (0.14, SERVER, 90), (2.0, CLIENT, 100), (2.4, SERVER, 60), (4.0, CLIENT, 100)])
        + "\n7.9 < P. 151:1551(1400) ack 291\n7.9001 > . 291:291(0) ack 1551",
        7.95,
        291,
        1551,
    ),
    "two who write in turn, and think before they do": talk(
        [*SETUP, *[(4 + 11.3 * i + 0.9 * (i * i % 7), (CLIENT, SERVER)[i % 2], 120 + 13 * i) for i in range(12)]]
    ),
    "heartbeats of both ends by one clock, whose phases differ": talk(
        SETUP + [word for i in range(1, 7) for word in ((30.0 * i, CLIENT, 84), (30.0 * i + 27.8, SERVER, 86))]
    ),
    "one line for a log, and a close when there are no more": closing(talk([(0.1, CLIENT, 180)]), 3.6, 181, 1),
    "a reading for a store that closes what is idle": closing(talk([(0.1, CLIENT, 90)]), 30.2, 91, 1, SERVER),
    "a subscriber to whom nothing is sent yet": talk([(0.1, CLIENT, 140)], end=45),
    "a server that pushes and speaks first, to a client that speaks later": talk(
        [(6.0, SERVER, 300), (11.0, CLIENT, 120), (13.5, SERVER, 200), (19.0, SERVER, 200)]
    ),
    "a peer that closes while the other tells it something": talk(
        [*SETUP, *[(1 + 1.3 * i + 0.4 * (i % 3), (CLIENT, SERVER)[i % 4 > 1], 17) for i in range(12)]]
    )
    + "\n20.0 < F. 703:703(0) ack 263\n20.001 > P. 263:272(9) ack 703\n20.02 < R 704:704(0)",
    "two peers tell each other from time to time that they live": talk(PEERS),
    "the same each 5 s, by clocks of their own": talk(ROUTERS),
    "a few words each 20 s, by clocks of their own": talk(
        HELLO + own_times((CLIENT, 19, 16, 24, 130), (SERVER, 19, 16, 24, 130), seed=2)
    ),
    "two routers, one of which told the other more at first": talk(
        [
            *((0.1, CLIENT, 400), (0.13, SERVER, 60), (0.2, CLIENT, 150)),
            *[(54 + 61 * n + late, side, 19) for n in range(7) for late, side in ((0.1 * n, SERVER), (7.2, CLIENT))],
        ]
    ),
    "a poll of which one was held to its end": talk(asked(25.004, 18.8, 12.1, think=0.01)),
    "a chat in which both speak unasked, and rarely": talk(CHAT),
    "a consumer of a queue": talk(consumer()),
    "another consumer": talk(consumer(seed=8)),
    "pings by the clock, which nobody answers, and news at any time": talk(PINGS),
    "a poll that is held for 25 s, or until there is news": talk(CAPPED),
    "a poll that is held for 5 s, or until there is news": talk(
        asked(5.0, 5.001, 1.7, 5.0, 0.4, 5.002, 5.001, think=0.01)
    ),
    "a server that asks its client every 3 s": talk(asked(*[3.0] * 12, think=0.004)),
    "a sum that takes 2 s each time, asked for every 15 s": talk(
        [w for i in range(10) for w in ((15 * i + 1, CLIENT, 200), (15 * i + 3.02 + 0.01 * (i % 3), SERVER, 900))]
    ),
    "a server that sends what its limit lets it, once a second": talk(
        [(0.1, CLIENT, 200)] + [(0.13 + i, SERVER, 60_000) for i in range(12)]
    ),
    "quotes that come when there are some": talk(
        [
            (0.1, CLIENT, 200),
            (0.13, SERVER, 100),
            *own_times((SERVER, 150, 0.3, 6, 90), (CLIENT, 30, 9, 31, 90), seed=2),
        ]
    ),
    "a person who types faster than it is echoed": keys(20),
    "last words of an application that only acknowledges, as it did before": talk(
        [*asked(0.1, 0.1, 0.2, 0.1, size=39), (3.0, CLIENT, 39)], end=90
    ),
    "one event on a connection that stays open": talk(
        [*((0.1, CLIENT, 500), (0.13, SERVER, 3000), (0.2, CLIENT, 480)), (0.23, SERVER, 500), (8.4, SERVER, 300)],
        end=60,
    ),
    "readings at a steady pace, acknowledged late": paced(60),
    "a stream in which words now and then go out with an ACK": by_chance(),
    "a connection whose last words are fewer than a request has": talk(
        [*asked(0.1, 0.1, 0.2, 0.1), (3.0, CLIENT, 13)], end=90
    ),
}

NOBODY_WAITS |= {
    "a feed that tells much at first, and much again when there is something": talk(
        [(0.1, CLIENT, 200), (0.13, SERVER, 90_000), (17.4, SERVER, 90_000)], end=22
    ),
    "the same, of a client that leaves later": closing(
        talk([(0.1, CLIENT, 200), (0.13, SERVER, 90_000), (17.4, SERVER, 90_000)]), 24.1, 201, 180_001
    ),
}

WAITED_FOR = {
    "one of twenty requests": (talk(asked(*[0.01] * 11, 5.0, *[0.02] * 8, size=300)), "server_slow"),
    "one of forty small ones that follow at once, and differ": (
        talk(
            [
                word
                for i in range(40)
                for at in (0.1 + 0.03 * i + 4.2 * (i > 25),)
                for word in ((at, CLIENT, 24 + i), (at + 0.021 + 4.2 * (i == 25), SERVER, 120))
            ]
        ),
        "server_slow",
    ),
    "one of eight, of somebody who looks at it for a while": (
        talk(asked(*[0.05] * 5, 8.1, *[0.07] * 2, think=3.2, size=360)),
        "server_slow",
    ),
    "one of twelve, of somebody who reads for long": (
        talk(asked(*[0.03] * 6, 4.4, *[0.02] * 5, think=9.1, size=500)),
        "server_slow",
    ),
    "all of ten requests, two to four seconds each": (
        talk(asked(*[2.4, 3.1, 4.2, 2.9, 3.6, 2.2, 4.0, 3.3, 2.7, 3.9], size=220)),
        "server_slow",
    ),
    "one request, and the client closes when it has the answer": (
        closing(talk(asked(7.7, size=300)), 7.9, 301, 301),
        "server_slow",
    ),
    "one request of one connection, which then stays open, while others are quick": (
        several(0.02, 0.03, 0.01) + later(talk([(0.3, CLIENT, 400), (6.0, SERVER, 900)], end=20)),
        "server_slow",
    ),
    "pages of somebody who reads each for longer than it took": (
        talk(
            [
                *((1.0, CLIENT, 600), (4.3, SERVER, 20_000), (14.0, CLIENT, 600), (20.5, SERVER, 20_000)),
                *((35.0, CLIENT, 600), (39.9, SERVER, 20_000)),
            ]
        ),
        "server_slow",
    ),
    "a greeting, and the talk goes on at once": (
        talk([(8.2, SERVER, 70), *asked(0.01, 0.01, 0.01, start=8.3, size=30)]),
        "server_slow",
    ),
    "one like six before, and the client gives up": (
        closing(talk([*asked(*[0.01] * 6, size=320), (3.0, CLIENT, 330)]), 23.4, 2251, 1801),
        "request_unanswered",
    ),
    "an only request, until the client's patience of 30 s is over": (
        closing(talk([(0.1, CLIENT, 320)]), 30.1, 321, 1),
        "request_unanswered",
    ),
    "one on a connection that the server closes, while others are answered": (
        several(0.02) + later(closing(talk([(0.1, CLIENT, 320)]), 30.1, 321, 1, SERVER)),
        "request_unanswered",
    ),
    "requests that all take the same time, not by any clock": (talk(asked(8.2, 8.2, 8.2, 8.2)), "server_slow"),
    "small requests that take a second or two, each about as long as the others": (
        talk(asked(*[1.1, 2.3, 1.7, 1.4, 2.0, 1.2, 1.9] * 3, size=12)),
        "server_slow",
    ),
    "small requests that are quick as a rule": (
        talk(asked(*[0.004, 0.3, 0.02, 4.1, 0.009, 0.6, 0.05] * 3, size=12)),
        "server_slow",
    ),
    "one slow answer among quick ones, asked for by the clock": (
        talk([w for i in range(12) for w in ((10 * i + 1, CLIENT, 200), (10 * i + 1.03 + 6 * (i == 7), SERVER, 900))]),
        "server_slow",
    ),
    "some requests run into a limit of 5 s behind the server, the others are quick": (
        talk(asked(*[0.02, 5.003, 0.03] * 6, think=0.1)),
        "server_slow",
    ),
    "a slow answer, and a goodbye when the connection has been idle": (
        talk([*asked(0.02, 4.3, 0.02), (65.0, SERVER, 31)]),
        "server_slow",
    ),
    "a long answer that pauses once in its midst, and ends with the connection": (
        closing(talk([(0.1, CLIENT, 200), (0.13, SERVER, 90_000), (3.4, SERVER, 90_000)]), 3.43, 201, 180_001, SERVER),
        "server_slow",
    ),
    "tickets of TLS 1.3 at once, the answer behind them late, and the client closes": (
        talk(
            [
                *((0.1, CLIENT, 500), (0.13, SERVER, 3000), (0.2, CLIENT, 480)),
                *((0.23, SERVER, 500), (8.4, SERVER, 2500)),
            ]
        )
        + "\n8.5 > F. 981:981(0) ack 6001\n8.52 < F. 6001:6001(0) ack 982\n8.53 > . 982:982(0) ack 6002",
        "server_slow",
    ),
    "the last of several requests like it, and the capture ends": (
        talk([*asked(0.1, 0.1, 0.2, 0.1), (3.0, CLIENT, 110)], end=90),
        "request_unanswered",
    ),
}


@pytest.mark.parametrize("name", NOBODY_WAITS)
def test_nobody_is_blamed_where_nobody_waits(name):
    """Nothing above ``low`` is said of it, and what is said is no more than possible."""
    found = diagnoses(NOBODY_WAITS[name])
    assert [d for d in found if SEVERITIES.index(d.severity) > 1 or d.confidence != "possible"] == []


@pytest.mark.parametrize("name", WAITED_FOR)
def test_who_is_waited_for(name):
    """The first diagnosis names who it is, and that it matters."""
    text, cause = WAITED_FOR[name]
    assert [(d.cause, d.severity) for d in diagnoses(text)][:1] == [(cause, "medium")]


def test_an_answer_that_is_the_first_to_acknowledge_its_request():
    """Of a server that acknowledges before it answers it came late, or the ACK; of another one nothing tells so."""
    piggybacked = [(9.0, CLIENT, 100), (11.0, SERVER, 300)]
    text = talk([*asked(0.3, 0.3), *piggybacked])
    unacknowledged = text.replace("9.0200 < . 601:601(0) ack 301\n", "")
    assert unacknowledged != text
    assert [d.cause for d in diagnoses(unacknowledged)] == []
    assert [d.cause for d in diagnoses(text)] == ["server_slow"]
    at_once = talk([*asked(0, 0), *piggybacked]).replace("9.0200 < . 601:601(0) ack 301\n", "")
    assert [d.cause for d in diagnoses(at_once)] == ["server_slow"]


@pytest.mark.parametrize("late", [0.4, 1.4])
def test_words_that_were_long_on_their_way(late):
    """A radio that wakes up, a queue that is full: the ACK comes late, and after it the answer, within 10 ms."""
    late_once = talk(
        [*asked(0.01, 0.01), (9.0, CLIENT, 100), (9.0 + late + 0.01, SERVER, 300)],
        ack=lambda time: late if time == 9.0 else WAY,
    )
    assert [d.cause for d in diagnoses(late_once)] == []
    # The same silence after an ACK in time is the server's.
    in_time = late_once.replace(f"{9 + late:.4f} <", "9.0200 <")
    assert [d.cause for d in diagnoses(in_time)] == (["server_slow"] if late > 1 else [])


def test_an_upload_is_on_its_way_until_it_is_acknowledged():
    """A queue of seconds before a thin line: what the ACKs of a part do not cover had not arrived."""
    lines = [f"{0.1 + 0.001 * i:.4f} > . {1 + 1000 * i}:{1001 + 1000 * i}(1000) ack 1" for i in range(20)]
    lines += [f"{0.2 + 0.2 * i:.4f} < . 1:1(0) ack {1001 + 1000 * i}" for i in range(19)]
    upload = OPENED + "\n".join(lines) + "\n3.9800 < P. 1:201(200) ack 20001\n3.9801 > . 20001:20001(0) ack 201"
    assert diagnoses(upload) == []
    arrived = upload.replace("3.8000 < . 1:1(0) ack 19001", "0.1800 < . 1:1(0) ack 20001")
    arrived = "\n".join(sorted(arrived.splitlines(), key=lambda line: float(line.split()[0] if line.split() else 0)))
    arrived = "\n".join(line for line in arrived.splitlines() if "< . 1:1(0) ack" not in line or "20001" in line)
    assert [d.cause for d in diagnoses(arrived + "\n4.1 > F. 20001:20001(0) ack 201")] == ["server_slow"]
