"""The same: with resets, with what only the clock moves, and where the capture does not hold all."""

from __future__ import annotations

from tests.replay_cases import CLIENT_OPENS, OPEN, SERVER_OPENS, Case

CUT_SHORT = [
    # --- resets
    Case(
        "refused",
        "0.000 > S 0:0(0)\n0.020 < R. 0:0(0) ack 1\nend 3",
        "SYN_SENT 0.000 sent, CLOSED 0.040 presumed",
        "",
        "aborted",
    ),
    Case(
        "syn_ack_answered_by_reset",
        "0.000 > S 0:0(0)\n0.020 < S. 0:0(0) ack 1\n0.040 > R 1:1(0)\nend 3",
        "SYN_SENT 0.000 sent, CLOSED ? sent",
        "SYN_RECEIVED 0.020 acked, CLOSED 0.060 presumed",
        "aborted",
    ),
    Case(
        "abort_by_an_exact_reset",
        OPEN + "1.000 > R. 101:101(0) ack 201\nend 3",
        f"{CLIENT_OPENS}, CLOSED 1.000 sent",
        f"{SERVER_OPENS}, CLOSED 1.020 presumed",
        "aborted",
    ),
    Case(
        "reset_within_the_window_is_challenged",
        OPEN
        + """
        1.000 > R  5101:5101(0)  id 9000 ttl 200
        1.020 < .  201:201(0)   ack 101
        2.000 > P. 101:201(100) ack 201
        2.020 < .  201:201(0)   ack 201
        end 3
        """,
        CLIENT_OPENS,
        SERVER_OPENS,
        "none",
    ),
    Case(
        "reset_outside_the_window_is_ignored",
        OPEN
        + """
        1.000 > R  900101:900101(0) id 9000 ttl 200
        2.000 > P. 101:201(100) ack 201
        2.020 < .  201:201(0)   ack 201
        end 3
        """,
        CLIENT_OPENS,
        SERVER_OPENS,
        "none",
    ),
    Case(
        "injected_reset_ends_one_end",
        OPEN
        + """
        1.000 > R  101:101(0)   id 9000 ttl 200
        2.000 > P. 101:201(100) ack 201
        2.020 < R  201:201(0)
        end 4
        """,
        f"{CLIENT_OPENS}, CLOSED 2.040 presumed",
        f"{SERVER_OPENS}, CLOSED 1.020 presumed",
        "aborted",
    ),
    Case(
        "reset_lost_after_the_capture",
        OPEN
        + """
        !1.000 > R. 101:101(0)  ack 201
        2.000 < P. 201:301(100) ack 101
        2.020 > R  101:101(0)
        end 4
        """,
        f"{CLIENT_OPENS}, CLOSED 1.000 sent",
        f"{SERVER_OPENS}, CLOSED 2.040 presumed",
        "aborted",
    ),
    # --- what only the clock moves
    Case(
        "time_wait_expires",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 102
        1.040 > .  102:102(0)   ack 202
        end 100
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, TIME_WAIT 1.040 acked, CLOSED 62.000 timer",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.020 sent, CLOSED 1.060 presumed",
        "normal",
    ),
    Case(
        "time_wait_restarted_by_a_repeated_fin",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 102
        !1.040 > . 102:102(0)   ack 202
        21.020 < F. 201:201(0)  ack 102
        21.040 > . 102:102(0)   ack 202
        end 100
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, TIME_WAIT 1.040 acked, CLOSED 82.000 timer",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.020 sent, CLOSED 21.060 presumed",
        "normal",
    ),
    Case(
        "time_wait_assassinated",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 102
        1.040 > .  102:102(0)   ack 202
        1.300 > .  102:102(0)   ack 202
        1.320 < R  202:202(0)
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, TIME_WAIT 1.040 acked, CLOSED 1.340 presumed",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.020 sent, CLOSED 1.060 presumed",
    ),
    Case(
        "orphan_fin_wait_2_expires",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < .  201:201(0)   ack 102
        90.000 < P. 201:301(100) ack 102
        90.020 > R 102:102(0)
        end 95
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, FIN_WAIT_2 1.040 presumed, CLOSED 62.000 timer",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, CLOSED 90.040 presumed",
        "aborted",
    ),
    Case(
        "syn_given_up",
        "".join(f"{t}.000 > S 0:0(0)\n" for t in (0, 1, 3, 7, 15, 31, 63)) + "end 200",
        "SYN_SENT 0.000 sent, CLOSED 127.000 timer",
        "",
        "timed_out",
    ),
    Case(
        "syn_ack_given_up",
        "0.000 > S 0:0(0)\n" + "".join(f"{t}.020 < S. 0:0(0) ack 1\n" for t in (0, 1, 3, 7, 15, 31)) + "end 200",
        None,  # it neither answers nor asks again: perhaps nobody is there
        "SYN_RECEIVED 0.020 acked, CLOSED 63.020 timer",
        "timed_out",
    ),
    Case(
        "fin_wait_1_given_up",
        OPEN + "".join(f"{t:.3f} > F. 101:101(0) ack 201\n" for t in (1, 1.24, 1.72, 2.68, 4.60)) + "end 100",
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, CLOSED 8.440 timer",
        SERVER_OPENS,
        "timed_out",
    ),
    Case(
        "last_ack_given_up",
        OPEN
        + "1.000 > F. 101:101(0) ack 201\n1.020 < . 201:201(0) ack 102\n"
        + "".join(f"{t:.3f} < F. 201:201(0) ack 102\n" for t in (2, 2.24, 2.72, 3.68, 5.60))
        + "end 50",
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, FIN_WAIT_2 1.040 presumed",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 2.000 sent, CLOSED 9.440 timer",
        "timed_out",
    ),
    Case(
        "capture_ends_in_last_ack",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < .  201:201(0)   ack 102
        2.000 < F. 201:201(0)   ack 102
        end 2.1
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, FIN_WAIT_2 1.040 presumed, TIME_WAIT 2.020 presumed",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 2.000 sent",
        "normal",
    ),
    # --- what the capture does not hold
    Case(
        "begun_inside",
        """
        1.000 > P. 1:101(100)   ack 1
        1.020 < P. 1:201(200)   ack 101
        1.040 > .  101:101(0)   ack 201
        2.000 > F. 101:101(0)   ack 201
        2.020 < F. 201:201(0)   ack 102
        2.040 > .  102:102(0)   ack 202
        end 4
        """,
        "SYN_SENT ? inferred, ESTABLISHED ? inferred, FIN_WAIT_1 2.000 sent, TIME_WAIT 2.040 acked",
        "SYN_RECEIVED ? inferred, ESTABLISHED ? inferred, "
        "CLOSE_WAIT 2.020 acked, LAST_ACK 2.020 sent, CLOSED 2.060 presumed",
        "normal",
    ),
    Case(
        "fin_that_the_capture_missed",
        OPEN
        + """
        x 1.000 > F. 101:101(0) ack 201  # it arrives; only the capture has lost it
        1.020 < .  201:201(0)   ack 102
        2.000 < F. 201:201(0)   ack 102
        2.020 > .  102:102(0)   ack 202
        end 4
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_2 1.040 inferred, TIME_WAIT 2.020 acked",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 inferred, LAST_ACK 2.000 sent, CLOSED 2.040 presumed",
        "normal",
    ),
    Case(
        "fast_open",
        """
        0.000 > S  0:100(100)               <mss 1460, tfo>
        0.020 < S. 0:0(0)       ack 101     <mss 1460>
        0.021 < P. 1:201(200)   ack 101
        0.040 > .  101:101(0)   ack 1
        0.041 > .  101:101(0)   ack 201
        end 2
        """,
        "SYN_SENT 0.000 sent, ESTABLISHED 0.040 acked",
        "SYN_RECEIVED 0.020 acked, ESTABLISHED 0.060 presumed",
        "none",
    ),
]
