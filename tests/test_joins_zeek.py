"""Columns that join with Zeek's conn.log."""

from __future__ import annotations

import pytest

from tests.joining import CLOSE, DATA, OPEN, joined


def zeek(text: str) -> list[str]:
    """conn_state and history of each connection."""
    return [f"{row['zeek_conn_state']} {row['zeek_history']}" for row in joined(text)]


# --- Zeek -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OPEN + CLOSE, "SF ShAFf"),
        (OPEN + DATA + CLOSE, "SF ShADdFf"),
        (OPEN + DATA, "S1 ShADd"),
        ("0 > S 0:0(0)", "S0 S"),
        ("0 > S 0:0(0)\n0.1 < R. 0:0(0) ack 1", "REJ Sr"),
        ("0 > S 0:0(0)\n0.1 > R 1:1(0)", "RSTOS0 SR"),
        ("0 > S 0:0(0)\n0.1 > . 1:1(0) ack 1\n0.2 > R 1:1(0)", "OTH SAR"),
        ("0 > S 0:0(0)\n0.1 > F 1:1(0)", "SH SF"),
        (OPEN + "1 > F. 1:1(0) ack 1", "S2 ShAF"),
        (OPEN + "1 < F. 1:1(0) ack 1", "S3 ShAf"),
        (OPEN + "1 > R. 1:1(0) ack 1", "RSTO ShAR"),
        (OPEN + "1 < R. 1:1(0) ack 1", "RSTR ShAr"),
        # data in a FIN is no D
        (OPEN + "1 > F. 1:9(8) ack 1", "S2 ShAF"),
        # T: data wholly sent before; a keepalive's byte counts too. W: no window. C: a wrong checksum, else ignored.
        (OPEN + DATA + "0.6 > P. 1:9(8) ack 9", "S1 ShADdT"),
        (OPEN + DATA + "0.6 > . 9:9(0) ack 9 win 0", "S1 ShADdW"),
        (OPEN + "0.6 > P. 1:9(8) ack 1 bad", "S1 ShAC"),
        # G: bytes acknowledged that were not seen
        (OPEN + "0.6 > P. 101:109(8) ack 1\n0.7 < . 1:1(0) ack 109", "S1 ShADaG"),
        # without a SYN: the port of a server turns the direction
        ("0 < S. 0:0(0) ack 1\n0.1 > . 1:1(0) ack 1", "S1 ^hA"),
        ("0 < F. 1:1(0) ack 1\n0.1 > . 1:1(0) ack 2", "SHR ^fA"),
        ("0 > P. 1:9(8) ack 1\n0.1 < . 1:1(0) ack 9", "OTH Da"),
        ("port 40000 50000\n0 < S. 0:0(0) ack 1\n0.1 > . 1:1(0) ack 1", "OTH Ha"),
        # the same flag again tells only if its number differs
        ("0 > S 0:0(0)\n1 > S 0:0(0)", "S0 S"),
        (OPEN + "1 > R 1:1(0)\n1.1 > R 1:1(0)\n1.2 > R 9:9(0)", "RSTO ShARR"),
        ("0 > SF 0:0(0)", "SH Q"),
        ("0 > FR 1:1(0)", "OTH I"),
    ],
)
def test_state_and_history(text, expected):
    """What Zeek's source says that it writes."""
    assert zeek(text) == [expected]


def test_zeek_drops_what_is_over_and_this_row_stays_with_what_it_said():
    """Five seconds after a close, an unanswered SYN or an RST, or after five minutes of silence."""
    assert zeek(OPEN + CLOSE + "5.9 < R 2:2(0)") == ["SF ShAFfr"]
    assert zeek(OPEN + CLOSE + "6.1 < R 2:2(0)") == ["SF ShAFf"]
    assert zeek("0 > S 0:0(0)\n4 > S 0:0(0)\n4.1 < S. 0:0(0) ack 1") == ["S1 Sh"]
    assert zeek("0 > S 0:0(0)\n6 > S 0:0(0)\n6.1 < S. 0:0(0) ack 1") == ["S0 S"]
    assert zeek(OPEN + "290 > P. 1:9(8) ack 1") == ["S1 ShAD"]
    assert zeek(OPEN + "310 > P. 1:9(8) ack 1") == ["S1 ShA"]
    assert zeek("port 40000 22\n" + OPEN + "310 > P. 1:9(8) ack 1") == ["S1 ShAD"]


def test_repeated_things_are_told_the_first_tenth_and_hundredth_time():
    """One letter for each power of ten."""
    again = "".join(f"{1 + i / 100} > P. 1:9(8) ack 1 id {i + 5}\n" for i in range(100))
    assert zeek(OPEN + "0.1 > P. 1:9(8) ack 1\n" + again) == ["S1 ShADTTT"]


def test_a_history_has_room_for_thirty_letters():
    """However many there might be."""
    text = OPEN + "".join(f"{1 + i / 100} > R {i + 1}:{i + 1}(0)\n" for i in range(60))
    assert joined(text)[0]["zeek_history"] == "ShA" + "R" * 27
