"""Who of two that take turns asks, and who answers: the last words of one who only answers are owed nothing."""

from __future__ import annotations

import pytest

from tcptrace_fsm.findings.rule import SEVERITIES
from tests.test_causes import diagnoses
from tests.test_talks import CLIENT, SERVER, SETUP, WAY, asked, closing, later, several, talk

pytestmark = pytest.mark.plain

GAPS = (0.9, 3.1, 0.4, 5.2, 1.7, 0.5, 2.8, 0.3, 1.1)


def orders(took=0.07, size=600, begun=(), gaps=GAPS):
    """A server that says something when it has something to say, and a client that answers it at once."""
    words, time = [*begun], begun[-1][0] if begun else 0.1
    for gap in gaps:
        time += gap
        words += [(time, SERVER, 90), (time + took, CLIENT, size)]
    return words


SHORT_GAPS = (0.9, 1.1, 0.4, 1.2, 1.7, 0.5, 0.8, 0.3, 1.1)
HELLO = asked(0.01, 0.02, size=200)
BEGUN = asked(0.02, 0.03, size=300, think=0.001)
SAID = 600 * len(GAPS) + 1, 90 * len(GAPS) + 1

NOBODY_WAITS = {
    "orders, and the client leaves": closing(talk(orders()), 75.4, *SAID),
    "orders, and the server closes when it has had none for a minute": closing(talk(orders()), 76.2, *SAID, SERVER),
    "orders, and the server resets when it has had none for a minute": talk(orders())
    + f"\n76.2 < R. {SAID[1]}:{SAID[1]}(0) ack {SAID[0]}",
    "orders, and the capture ends": talk(orders(), end=200),
    "orders that follow two requests of the client, and it leaves": closing(
        talk(orders(begun=BEGUN)), 75.4, 600 * len(GAPS) + 601, 90 * len(GAPS) + 601
    ),
    "orders that follow two requests of the client, and the capture ends": talk(orders(begun=BEGUN), end=300),
    "orders on a connection that had begun before": talk(orders(0.03, gaps=(0.1, *[0.08] * 9)), end=90, opened=""),
    "one that came unasked, and a client that answers it": closing(
        talk([*asked(0.01, 0.02, 0.01, size=320), (29.0, SERVER, 6), (29.01, CLIENT, 600)]), 77.3, 1561, 907
    ),
    "a stream of news, and a client that answers some of them": talk(
        [
            *asked(0.01, 0.01, 0.01, 0.01, size=90),
            *[(1 + 0.7 * i, SERVER, 900) for i in range(40)],
            (29.2, CLIENT, 90),
        ],
        end=190,
    ),
    "a server that greets, and a client that says what it is": closing(
        talk([(4.1, SERVER, 2900), (4.5, CLIENT, 1050)]), 33.4, 1051, 2901
    ),
    "the same, and the server resets later": talk([(0.4, SERVER, 370), (0.8, CLIENT, 200)])
    + "\n87.0 < R. 371:371(0) ack 201",
    "a few words, and a close when there are no more": closing(talk([(2.7, CLIENT, 6)]), 45.6, 7, 1),
    "words once, and the capture ends": talk([(4.2, CLIENT, 770)], end=121),
    "a piece of a store's log after small requests": talk([*asked(0.01, 0.02, 0.01), (4.3, CLIENT, 9000)], end=240),
    "news for which the client asked after quick turns, and which it acknowledges before it leaves": closing(
        talk([*asked(0.01, 0.03, 0.02, size=300), (1.0, CLIENT, 300), (71.4, SERVER, 140), (71.6, CLIENT, 300)]),
        72.8,
        1501,
        1041,
    ),
    "the same, of a client that has more to say than a request is long, and the capture ends": talk(
        [*asked(0.01, 0.03, 0.02, size=300), (1.0, CLIENT, 300), (26.4, SERVER, 60), (26.6, CLIENT, 700)], end=40
    ),
    "news, and a client that leaves a while later": closing(
        talk([*SETUP, (0.6, CLIENT, 420), (48.2, SERVER, 690)]), 50.1, 581, 1291
    ),
    "one silence in a stream of small pieces, and a client that leaves": closing(
        talk([*BEGUN, *[(1 + 0.4 * i + 5 * (i > 30), SERVER, 40) for i in range(70)]]), 33.7, 601, 3401
    ),
    "a poll that is held for 5 s, on a connection that had begun before": talk(
        asked(5.0, 5.0, 5.0, think=0.003, size=303), ack=lambda time: 0.07, opened="", end=80
    ),
    "two polls behind a few quick turns": closing(
        talk(
            [
                *asked(*[0.02] * 4, size=300, think=0.001),
                *((1.0, CLIENT, 440), (91.1, SERVER, 300), (91.5, CLIENT, 440), (163.9, SERVER, 200)),
            ]
        ),
        166.3,
        2081,
        1701,
    ),
    "polls behind a few quick turns, for an event each": talk(
        [
            *asked(*[0.02] * 4, size=300, think=0.001),
            *((1.0, CLIENT, 420), (4.7, SERVER, 10), (5.0, CLIENT, 420), (7.9, SERVER, 9)),
        ],
        end=70,
    ),
    "an event, and a client that leaves a moment later": closing(
        talk([*SETUP, (0.6, CLIENT, 420), (16.1, SERVER, 200)]), 17.1, 581, 801
    ),
    "orders that come each ten seconds": talk(
        [w for i in range(1, 12) for w in ((10.1 * i, SERVER, 100), (10.1 * i + 0.07, CLIENT, 200))], end=125
    ),
    "readings for a store, of which the first comes after a few turns": talk(
        [*asked(0.04, 0.02, 0.03, size=140, think=0.001), (6.4, CLIENT, 290)], end=270
    ),
    "two readings with nothing between, and news": talk(
        [(9.6, CLIENT, 90), (23.5, CLIENT, 90), (25.8, CLIENT, 90), (25.95, SERVER, 1100)]
    ),
    "a poll that is held for 5 s, on a connection that had begun before, seen for long": talk(
        [*asked(*[4.98] * 4, 2.5, *[4.98] * 5, think=0.3, size=420), (51.0, CLIENT, 420)],
        ack=lambda time: WAY + 0.04 * (time < 50),
        opened="",
    ),
    "a client that is told after half a minute what it asked for, looks it up, and leaves later": closing(
        talk(
            [
                *asked(0.01, 0.01, size=190, think=0.01),
                *((0.3, CLIENT, 150), (33.4, SERVER, 120), (33.7, CLIENT, 160), (33.73, SERVER, 2000)),
            ]
        ),
        63.9,
        691,
        2721,
    ),
    "a report without an answer, of a device whose other words get one, as those of others do": several(0.02)
    + later(closing(talk([*asked(0.01, size=15), (10.2, CLIENT, 90)]), 52.7, 106, 301, SERVER)),
    "news each second, acknowledged, and a poll that the client leaves when it has an answer": closing(
        talk([*orders(0.03, size=60, gaps=[1.0] * 40), (41.1, CLIENT, 300), (125.0, SERVER, 90)]), 125.1, 2701, 3691
    ),
    "polls of 5 s that have news as often as not, on a connection that was talkative before": talk(
        asked(*[0.04, 0.05, 0.03] * 16, 2.36, 5.0, 4.6, 5.0, 4.3, 3.0, *[5.0, 5.0, 4.8, 5.0, 0.27] * 2, think=0.02)
    ),
    "polls that have news at any time, and a client that leaves with some": closing(
        talk(asked(5.3, 0.93, 1.03, 15.0, 0.455, 8.4, 4.58, 19.2, size=700, think=0.19)), 56.54, 5601, 2401
    ),
    "news that are acknowledged at length, and the client leaves in ten seconds": closing(
        talk(orders(0.1, size=200, begun=HELLO, gaps=SHORT_GAPS)), 18.475, 2201, 1411
    ),
    "one event, acknowledged, and the client leaves in ten seconds": closing(
        talk([(11.0, SERVER, 9), (11.05, CLIENT, 90)]), 21.06, 91, 10
    ),
    "a few events after more than a minute, acknowledged": closing(
        talk([(78.8, SERVER, 12), (78.9, CLIENT, 20), (78.96, SERVER, 6), (79.03, CLIENT, 20)]), 80.1, 41, 19
    ),
    "a poll of 90 s, at the end of a capture that began behind the opening": talk(
        asked(*[0.08] * 40, 90.0, size=300, think=0.1), opened="", end=99
    ),
    "polls behind quick turns, and a client that leaves with what the last brings": closing(
        talk([*asked(*[0.02] * 4, size=113, think=0.01), *asked(2.13, 17.3, start=1.0, think=0.27, size=112)]),
        20.76,
        677,
        1801,
    ),
    "two polls behind quick turns, of which the second is over after 90 s, and a client that leaves": closing(
        talk([*asked(*[0.02] * 3, size=113, think=0.01), *asked(19.5, 90.0, start=1.0, think=0.001, size=114)]),
        110.6,
        568,
        1501,
    ),
    "a mail server that holds its greeting back for three seconds": talk(
        [(3.1, SERVER, 60), *asked(*[0.02] * 4, start=3.2, size=40, think=0.001)]
    ),
    "two who speak when they like, of whom the server does so first": talk(
        [(6.57, SERVER, 605), (7.66, CLIENT, 279), (8.42, SERVER, 598), (8.63, CLIENT, 169)]
    ),
    "words on a connection that had begun before, and a reset of the server": talk([(0.1, CLIENT, 282)], opened="")
    + "\n52.1 < R. 1:1(0) ack 283",
    "telemetry between which there is a question now and then": talk(
        [
            *asked(0.1, 0.2, 0.1, size=90),
            *[(2 + 2.0 * i, CLIENT, 200) for i in range(6)],
            *((14.0, SERVER, 200), (16.0, CLIENT, 200), (18.0, CLIENT, 200), (41.0, SERVER, 300), (41.1, CLIENT, 90)),
        ],
        end=60,
    ),
}

WAITED_FOR = {
    "a slow answer among quick ones, the last, behind which the client says goodbye": (
        closing(talk([*asked(0.02, 0.03, 0.02, 8.3, size=400), (9.3, CLIENT, 24)]), 9.3001, 1625, 1201),
        "server_slow",
    ),
    "the answer of a mail server that always says something first": (
        closing(talk([(0.2, SERVER, 60), *asked(*[0.02] * 4, 9.2, start=0.3, size=40)]), 10.6, 201, 1561),
        "server_slow",
    ),
    "a service that is quick, and from one moment on is not": (
        talk(asked(*[0.03] * 9, 4.1, 5.2, 6.6, size=300)),
        "server_slow",
    ),
    "one of four requests of which the last is quick again": (
        talk(asked(0.03, 0.04, 6.2, 0.03, size=300)),
        "server_slow",
    ),
    "one report among quick answers, behind which the client says goodbye at once": (
        closing(talk([*asked(0.004, 0.001, 0.03, 9.7, size=600, think=0.02), (9.91, CLIENT, 24)]), 9.9101, 2425, 1201),
        "server_slow",
    ),
    "an only request, behind whose answer the client says goodbye at once": (
        closing(talk([*asked(0.004, 9.7, size=600, think=0.02), (9.91, CLIENT, 24)]), 9.9101, 1225, 601),
        "server_slow",
    ),
    "the first of two requests of one connection, of a program, while others are quick": (
        several(0.02, 0.03, 0.01) + later(talk(asked(4.9, 0.02, think=0.0005, size=330))),
        "server_slow",
    ),
    "a request behind the turns of a handshake, while others are answered, until the server closes": (
        several(0.02)
        + later(
            closing(talk([*asked(0.004, 0.001, size=300, think=0.01), (0.4, CLIENT, 420)]), 30.3, 1021, 601, SERVER)
        ),
        "request_unanswered",
    ),
    "each command of a mail server that waits": (
        later(
            talk([(0.1, SERVER, 60), *asked(5.1, 5.9, 5.3, 4.7, start=0.2, size=30, think=0.001)])
            + "\n21.4 > P. 121:1021(900) ack 1261\n21.42 < . 1261:1261(0) ack 1021\n26.5 < P. 1261:1301(40) ack 1021"
        ).replace("40009 80", "40009 25"),
        "server_slow",
    ),
    "a slow answer among quick ones, of a connection that the capture knows from an answer on": (
        talk([(0.05, SERVER, 300), *asked(*[0.004] * 9, 8.4, *[0.004] * 5, think=0.7)], opened=""),
        "server_slow",
    ),
    "two slow ones of five, in each of several connections": (
        "".join(
            later(talk(asked(0.02, 6.3 + 0.4 * i, 0.02, 0.03, 8.1 - 0.3 * i, 0.02, size=300)), 30 * i, 40001 + i)
            for i in range(4)
        ),
        "server_slow",
    ),
    "two slow ones of five, behind the second of which the client leaves": (
        closing(talk(asked(0.02, 6.3, 0.02, 0.03, 8.1, size=300)), 15.7, 1501, 1501),
        "server_slow",
    ),
    "one of five requests of a program that asks again at once": (
        talk(asked(0.05, 0.06, 0.05, 7.4, 0.05, think=0.001, size=300)),
        "server_slow",
    ),
    "the last of requests that follow one another at once, and the client's patience": (
        closing(talk([*asked(*[0.09] * 6, think=0.001, size=300), (0.8, CLIENT, 300)]), 15.8, 2101, 1801),
        "request_unanswered",
    ),
    "a request of a new connection, while others are answered, and the capture lasts": (
        several(0.02) + "\nport 40009 80\n12.0 > S 0:0(0)\n12.02 < S. 0:0(0) ack 1\n12.02 > . 1:1(0) ack 1\n"
        "12.1 > P. 1:321(320) ack 1\n12.12 < . 1:1(0) ack 321\nend 90",
        "request_unanswered",
    ),
}


@pytest.mark.parametrize(("words", "harm"), [(orders(begun=BEGUN), []), (asked(*[0.02] * 6, size=300), ["medium"])])
def test_who_is_owed_an_answer_when_a_server_resets(words, harm):
    """A client that asked is, one that only answers orders is not."""
    time, sizes = (
        words[-1][0] + 0.2,
        {side: 1 + sum(n for _, who, n in words if who == side) for side in (CLIENT, SERVER)},
    )
    if words[-1][1] == SERVER:
        words, sizes[CLIENT] = [*words, (time, CLIENT, 300)], sizes[CLIENT] + 300
    text = talk(words) + f"\n{time + 9.3:.4f} < R. {sizes[SERVER]}:{sizes[SERVER]}(0) ack {sizes[CLIENT]}"
    found = diagnoses(text)
    assert [d.severity for d in found if d.cause == "aborted_by_application" and d.severity != "low"] == harm


@pytest.mark.parametrize("name", NOBODY_WAITS)
def test_nobody_is_blamed_for_what_was_no_question(name):
    """Nothing above ``low`` is said of it, and what is said of who waits is no more than possible."""
    found = diagnoses(NOBODY_WAITS[name])
    assert [d for d in found if SEVERITIES.index(d.severity) > 1 or d.confidence != "possible"] == []


@pytest.mark.parametrize("name", WAITED_FOR)
def test_who_is_waited_for(name):
    """The first diagnosis names who it is, and that it matters."""
    text, cause = WAITED_FOR[name]
    assert [(d.cause, d.severity) for d in diagnoses(text)][:1] == [(cause, "medium")]
