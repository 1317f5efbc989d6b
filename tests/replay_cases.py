"""Conversations, and how each end of them goes through its states: as the textbook has it, and with losses."""

from __future__ import annotations

import re
from typing import NamedTuple

ONE_WAY = 0.020
PLACES = {"near_client": 0.0005, "between": 0.010, "near_server": 0.0195}  # s from the client to the capture

OPEN = """
    0.000 > S  0:0(0)
    0.020 < S. 0:0(0)       ack 1
    0.040 > .  1:1(0)       ack 1
    0.100 > P. 1:101(100)   ack 1
    0.120 < P. 1:201(200)   ack 101
    0.140 > .  101:101(0)   ack 201
"""
CLIENT_OPENS = "SYN_SENT 0.000 sent, ESTABLISHED 0.040 acked"
SERVER_OPENS = "SYN_RECEIVED 0.020 acked, ESTABLISHED 0.060 acked"


def captured(text: str, way: float) -> str:
    """What the capture holds of what was sent: later by the way to it, without what was lost before, in its order."""
    lines: list[tuple[float, str]] = []
    sent = {">": 100, "<": 500}
    for raw in text.strip().splitlines():
        line = raw.split("#")[0].strip()
        if not line:
            continue
        if line.startswith("end"):
            lines.append((float(line.split()[1]), line))
            continue
        fate, time, direction, rest = re.fullmatch(r"([x!]?)\s*([\d.]+)\s+([<>])\s+(.*)", line).groups()
        other = "id" in rest.split()  # somebody else sends it, who counts for himself
        sent[direction] += 0 if other else 1
        number = "" if other else f"id {sent[direction]} "
        options = rest.find("<")
        rest = f"{rest} {number}" if options < 0 else f"{rest[:options]}{number}{rest[options:]}"
        moment = float(time) + (way if direction == ">" else ONE_WAY - way)
        if fate != "x":
            lines.append((moment, f"{moment:.6f} {direction} {rest}"))
    return "\n".join(line for _, line in sorted(lines, key=lambda pair: pair[0]))


class Case(NamedTuple):
    """One conversation and the truth about it."""

    name: str
    sent: str
    client: str | None  # None: undecidable
    server: str | None
    closing: str | None = None
    places: tuple[str, ...] = tuple(PLACES)


PLAIN = [
    Case(
        "client_closes_fin_answered_by_fin",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 102
        1.040 > .  102:102(0)   ack 202
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, TIME_WAIT 1.040 acked",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.020 sent, CLOSED 1.060 presumed",
        "normal",
    ),
    Case(
        "client_closes_server_later",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < .  201:201(0)   ack 102
        1.500 < F. 201:201(0)   ack 102
        1.520 > .  102:102(0)   ack 202
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, FIN_WAIT_2 1.040 presumed, TIME_WAIT 1.520 acked",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.500 sent, CLOSED 1.540 presumed",
        "normal",
    ),
    Case(
        "server_closes_client_follows",
        OPEN
        + """
        1.000 < F. 201:201(0)   ack 101
        1.020 > .  101:101(0)   ack 202
        1.500 > F. 101:101(0)   ack 202
        1.520 < .  202:202(0)   ack 102
        end 3
        """,
        f"{CLIENT_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.500 sent, CLOSED 1.540 presumed",
        f"{SERVER_OPENS}, FIN_WAIT_1 1.000 sent, FIN_WAIT_2 1.040 presumed, TIME_WAIT 1.520 acked",
        "normal",
    ),
    Case(
        "half_close_with_data_behind_it",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < .  201:201(0)   ack 102
        2.000 < P. 201:301(100) ack 102
        2.020 > .  102:102(0)   ack 301
        9.000 < P. 301:401(100) ack 102
        9.020 > .  102:102(0)   ack 401
        9.500 < F. 401:401(0)   ack 102
        9.520 > .  102:102(0)   ack 402
        end 12
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, FIN_WAIT_2 1.040 presumed, TIME_WAIT 9.520 acked",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 9.500 sent, CLOSED 9.540 presumed",
        "normal",
    ),
    Case(
        "half_close_that_stays",
        OPEN + "1.000 > F. 101:101(0) ack 201\n1.020 < . 201:201(0) ack 102\nend 500",
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, FIN_WAIT_2 1.040 presumed",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked",
        "half_closed",
    ),
    Case(
        "simultaneous_close",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.000 < F. 201:201(0)   ack 101
        1.020 > .  102:102(0)   ack 202
        1.020 < .  202:202(0)   ack 102
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, CLOSING 1.020 acked, TIME_WAIT 1.040 presumed",
        f"{SERVER_OPENS}, FIN_WAIT_1 1.000 sent, CLOSING 1.020 acked, TIME_WAIT 1.040 presumed",
        "simultaneous",
    ),
    Case(
        "simultaneous_open",
        """
        0.000 > S  0:0(0)
        0.000 < S  0:0(0)
        0.020 > S. 0:0(0)       ack 1
        0.020 < S. 0:0(0)       ack 1
        0.500 > P. 1:101(100)   ack 1
        0.520 < .  1:1(0)       ack 101
        end 3
        """,
        "SYN_SENT 0.000 sent, SYN_RECEIVED 0.020 acked, ESTABLISHED 0.040 acked",
        "SYN_SENT 0.000 sent, SYN_RECEIVED 0.020 acked, ESTABLISHED 0.040 acked|presumed",
        "none",
    ),
    # --- lost on the way, and sent again
    Case(
        "first_fin_lost_after_the_capture",
        OPEN
        + """
        !1.000 > F. 101:101(0)  ack 201
        1.240 > F. 101:101(0)   ack 201
        1.260 < F. 201:201(0)   ack 102
        1.280 > .  102:102(0)   ack 202
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, TIME_WAIT 1.280 acked",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.260 acked, LAST_ACK 1.260 sent, CLOSED 1.300 presumed",
        "normal",
    ),
    Case(
        "first_fin_lost_before_the_capture",
        OPEN
        + """
        x 1.000 > F. 101:101(0) ack 201
        1.240 > F. 101:101(0)   ack 201
        1.260 < F. 201:201(0)   ack 102
        1.280 > .  102:102(0)   ack 202
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, TIME_WAIT 1.280 acked",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.260 acked, LAST_ACK 1.260 sent, CLOSED 1.300 presumed",
        "normal",
    ),
    Case(
        "second_fin_lost_after_the_capture",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        !1.020 < F. 201:201(0)  ack 102
        1.240 > F. 101:101(0)   ack 201
        1.260 < F. 201:201(0)   ack 102
        1.280 > .  102:102(0)   ack 202
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, TIME_WAIT 1.280 acked",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.020 sent, CLOSED 1.300 presumed",
        "normal",
    ),
    Case(
        "second_fin_lost_before_the_capture",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < .  201:201(0)   ack 102
        x 1.500 < F. 201:201(0) ack 102
        1.740 < F. 201:201(0)   ack 102
        1.760 > .  102:102(0)   ack 202
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, FIN_WAIT_2 1.040 presumed, TIME_WAIT 1.760 acked",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.500 sent, CLOSED 1.780 presumed",
        "normal",
    ),
    Case(
        "ack_of_the_first_fin_lost_after_the_capture",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        !1.020 < . 201:201(0)   ack 102
        1.240 > F. 101:101(0)   ack 201
        1.260 < .  201:201(0)   ack 102
        2.000 < F. 201:201(0)   ack 102
        2.020 > .  102:102(0)   ack 202
        end 4
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, FIN_WAIT_2 1.280 presumed, TIME_WAIT 2.020 acked",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 2.000 sent, CLOSED 2.040 presumed",
        "normal",
    ),
    Case(
        "last_ack_lost_after_the_capture",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 102
        !1.040 > . 102:102(0)   ack 202
        1.260 < F. 201:201(0)   ack 102
        1.280 > .  102:102(0)   ack 202
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, TIME_WAIT 1.040 acked",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.020 sent, CLOSED 1.300 presumed",
        "normal",
    ),
    Case(
        "last_ack_lost_before_the_capture",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 102
        x 1.040 > . 102:102(0)  ack 202
        1.260 < F. 201:201(0)   ack 102
        1.280 > .  102:102(0)   ack 202
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, TIME_WAIT ? acked",  # the first FIN may have been the one lost
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.020 sent, CLOSED 1.300 presumed",
        "normal",
    ),
    Case(
        "syn_lost_after_the_capture",
        "!0.000 > S 0:0(0)\n1.000 > S 0:0(0)\n1.020 < S. 0:0(0) ack 1\n1.040 > . 1:1(0) ack 1\nend 3",
        "SYN_SENT 0.000 sent, ESTABLISHED 1.040 acked",
        "SYN_RECEIVED 1.020 acked, ESTABLISHED 1.060 presumed",
        "none",
    ),
    Case(
        "syn_ack_lost_after_the_capture",
        """
        0.000 > S  0:0(0)
        !0.020 < S. 0:0(0)      ack 1
        1.000 > S  0:0(0)
        1.020 < S. 0:0(0)       ack 1
        1.040 > .  1:1(0)       ack 1
        end 3
        """,
        "SYN_SENT 0.000 sent, ESTABLISHED 1.040 acked",
        "SYN_RECEIVED 0.020 acked, ESTABLISHED 1.060 presumed",
        "none",
    ),
    Case(
        "third_ack_lost_after_the_capture",
        """
        0.000 > S  0:0(0)
        0.020 < S. 0:0(0)       ack 1
        !0.040 > . 1:1(0)       ack 1
        1.020 < S. 0:0(0)       ack 1
        1.040 > .  1:1(0)       ack 1
        end 3
        """,
        "SYN_SENT 0.000 sent, ESTABLISHED 0.040 acked",
        "SYN_RECEIVED 0.020 acked, ESTABLISHED 1.060 presumed",
        "none",
    ),
    Case(
        "third_ack_lost_before_the_capture_data_completes",
        """
        0.000 > S  0:0(0)
        0.020 < S. 0:0(0)       ack 1
        x 0.040 > . 1:1(0)      ack 1
        0.200 > P. 1:101(100)   ack 1
        0.220 < .  1:1(0)       ack 101
        end 3
        """,
        "SYN_SENT 0.000 sent, ESTABLISHED 0.040 acked",
        "SYN_RECEIVED 0.020 acked, ESTABLISHED 0.220 acked",
        "none",
    ),
    Case(
        "fin_behind_a_hole",
        OPEN
        + """
        !1.000 > P. 101:201(100) ack 201
        1.001 > F. 201:201(0)   ack 201
        1.021 < .  201:201(0)   ack 101
        1.240 > P. 101:201(100) ack 201
        1.260 < .  201:201(0)   ack 202
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.001 sent, FIN_WAIT_2 1.280 presumed",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.260 acked",
        "half_closed",
    ),
    Case(
        "fin_with_a_bad_checksum",
        OPEN + "1.000 > F. 101:101(0) ack 201 bad\n1.240 > F. 101:101(0) ack 201\n1.260 < . 201:201(0) ack 102\nend 3",
        f"{CLIENT_OPENS}, FIN_WAIT_1 ? sent, FIN_WAIT_2 1.280 presumed",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.260 acked",
        "half_closed",
    ),
]
