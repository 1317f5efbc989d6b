"""Conversations with systems that are not Linux, and how each end of them goes through its states."""

from __future__ import annotations

from tests.replay_cases import CLIENT_OPENS, OPEN, SERVER_OPENS, Case

CASES = [
    # --- an RST that carries ACK is a reply too, where its numbers are those of what it answers (lwIP, middleboxes) ---
    Case(
        "late_fin_meets_rst_with_ack",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < .  201:201(0)   ack 102
        70.00 < F. 201:201(0)   ack 102
        70.02 > R. 102:102(0)   ack 202
        end 80
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, FIN_WAIT_2 1.040 presumed, CLOSED ? timer",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 70.00 sent, CLOSED 70.04 presumed",
        "aborted",
    ),
    Case(
        "second_fin_meets_rst_with_ack",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 102
        ! 1.040 > .  102:102(0)   ack 202
        3.000 < F. 201:201(0)   ack 102
        3.020 > R. 102:102(0)   ack 202
        end 5
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, TIME_WAIT 1.040 acked, CLOSED ? sent",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.020 sent, CLOSED 3.040 presumed",
        "aborted",
    ),
    Case(
        "syn_ack_meets_rst_with_ack",
        """
        0.000 > S  0:0(0)
        0.420 < S. 0:0(0)       ack 1
        0.440 > R. 1:1(0)       ack 1
        end 5
        """,
        "SYN_SENT 0.000 sent, CLOSED ? sent",
        "SYN_RECEIVED ? acked, CLOSED 0.460 presumed",
        "aborted",
    ),
    Case(
        "lone_fin_meets_rst_with_ack",
        OPEN
        + """
        x 3.000 > R. 101:101(0) ack 201
        6.000 < F. 201:201(0)   ack 101
        6.020 > R. 101:101(0)   ack 202
        end 8
        """,
        f"{CLIENT_OPENS}, CLOSED 3.000 sent",
        f"{SERVER_OPENS}, FIN_WAIT_1 6.000 sent, CLOSED 6.040 presumed",
        "aborted",
    ),
    # ... and is an abort where it says more than the segment before it, comes after an answer to it, or may come from
    # an application that has left something unread
    Case(
        "fin_acknowledged_then_rst",
        OPEN
        + """
        3.000 < F. 201:201(0)   ack 101
        3.020 > .  101:101(0)   ack 202
        3.030 > R. 101:101(0)   ack 202
        end 8
        """,
        f"{CLIENT_OPENS}, CLOSE_WAIT 3.020 acked, CLOSED 3.030 sent",
        f"{SERVER_OPENS}, FIN_WAIT_1 3.000 sent, FIN_WAIT_2 3.040 presumed, CLOSED 3.050 presumed",
        "aborted",
    ),
    Case(
        "data_then_rst_with_ack",
        OPEN
        + """
        3.000 < P. 201:301(100) ack 101
        3.020 > R. 101:101(0)   ack 301
        end 8
        """,
        f"{CLIENT_OPENS}, CLOSED 3.020 sent",
        f"{SERVER_OPENS}, CLOSED 3.040 presumed",
        "aborted",
    ),
    # --- 4.4BSD sets FIN in every ACK until its own is acknowledged ---
    Case(
        "fins_cross_and_one_ack_bears_fin_again",
        OPEN
        + """
        2.000 > F. 101:101(0)   ack 201
        2.002 < F. 201:201(0)   ack 101
        2.020 < .  202:202(0)   ack 102
        2.022 > F. 101:101(0)   ack 202
        2.042 < .  202:202(0)   ack 102
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 2.000 sent, CLOSING 2.022 acked, TIME_WAIT 2.040 presumed",
        f"{SERVER_OPENS}, FIN_WAIT_1 2.002 sent, CLOSING 2.020 acked, TIME_WAIT 2.042 presumed",
        "simultaneous",
    ),
    Case(
        "fins_cross_and_one_comes_again_by_its_timer",
        OPEN
        + """
        2.000 > F. 101:101(0)   ack 201
        2.002 < F. 201:201(0)   ack 101
        ! 2.020 < .  202:202(0)   ack 102
        x 2.022 > .  102:102(0)   ack 202
        2.260 > F. 101:101(0)   ack 202
        2.280 < .  202:202(0)   ack 102
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 2.000 sent, CLOSING ? acked, TIME_WAIT 2.300 presumed",
        f"{SERVER_OPENS}, FIN_WAIT_1 2.002 sent, CLOSING 2.020 acked, TIME_WAIT 2.280 presumed",
        "simultaneous",
    ),
    # --- SYN_SENT resets what a SYN+ACK with a bad ACK comes from, and stays (RFC 9293 3.10.7.3) ---
    Case(
        "a_bad_syn_ack_and_then_the_right_one",
        """
        0.000 > S  0:0(0)
        0.100 < S. 72777:72777(0) ack 999 id 9000
        0.120 > R  999:999(0)
        1.000 > S  0:0(0)
        1.020 < S. 0:0(0)       ack 1
        1.040 > .  1:1(0)       ack 1
        2.000 > F. 1:1(0)       ack 1
        2.020 < F. 1:1(0)       ack 2
        2.040 > .  2:2(0)       ack 2
        end 3
        """,
        "SYN_SENT 0.000 sent, ESTABLISHED 1.040 acked, FIN_WAIT_1 2.000 sent, TIME_WAIT 2.040 acked",
        "SYN_RECEIVED ? acked, ESTABLISHED 1.060 acked, CLOSE_WAIT 2.020 acked, LAST_ACK 2.020 sent, "
        "CLOSED 2.060 presumed",
        "normal",
    ),
    Case(
        "a_syn_ack_that_acknowledges_data_in_the_syn",
        """
        0.000 > S  0:100(100)  <tfo 1>
        0.020 < S. 0:0(0)       ack 101
        0.040 > .  101:101(0)   ack 1
        end 3
        """,
        "SYN_SENT 0.000 sent, ESTABLISHED 0.040 acked",
        "SYN_RECEIVED 0.020 acked, ESTABLISHED 0.060 presumed",
        "none",
    ),
    # --- a FIN that did not pass here: the story with fewest losses ---
    Case(
        "fin_lost_that_answered_a_fin_which_came_again",
        OPEN
        + """
        1.000 < F. 201:201(0)   ack 101
        x 1.020 > F. 101:101(0) ack 202
        2.200 < F. 201:201(0)   ack 101
        2.220 > .  102:102(0)   ack 202
        2.600 > F. 101:101(0)   ack 202
        2.620 < .  202:202(0)   ack 102
        end 5
        """,
        f"{CLIENT_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK ? inferred, CLOSED 2.640 presumed",
        None,
        "normal",
        ("between", "near_server"),
    ),
    Case(
        "fin_lost_that_answered_a_fin_and_data_came_again",
        OPEN
        + """
        ! 0.400 < P. 201:301(100) ack 101
        0.420 > .  101:101(0)   ack 301
        1.000 < F. 301:301(0)   ack 101
        x 1.020 > F. 101:101(0) ack 302
        2.200 < P. 201:301(100) ack 101
        2.220 > .  102:102(0)   ack 302
        2.600 > F. 101:101(0)   ack 302
        2.620 < .  302:302(0)   ack 102
        end 5
        """,
        f"{CLIENT_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK ? inferred, CLOSED 2.640 presumed",
        None,
        "normal",
        ("between", "near_server"),
    ),
    Case(
        "fin_lost_that_had_gone_before",
        OPEN
        + """
        x 0.995 > F. 101:101(0) ack 201
        1.000 < F. 201:201(0)   ack 101
        1.020 > .  102:102(0)   ack 202
        1.400 > F. 101:101(0)   ack 202
        1.420 < .  202:202(0)   ack 102
        end 5
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 ? inferred, CLOSING 1.020 acked, TIME_WAIT 1.440 presumed",
        None,
        None,
        ("between", "near_server"),
    ),
    # --- an RST names what it answers: what its peer had sent before it heard of the FIN came before the ACK of it ---
    Case(
        "closed_with_data_under_way",
        OPEN
        + """
        0.990 < P. 201:301(100) ack 101
        1.000 > F. 101:101(0)   ack 201
        1.010 > R  101:101(0)
        1.020 < F. 301:301(0)   ack 102
        1.040 > R  102:102(0)
        end 5
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, CLOSED 1.010 sent",
        None,
        "aborted",
    ),
    Case(
        "closed_with_data_overtaken",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < .  301:301(0)   ack 102
        1.030 < P. 201:301(100) ack 101  id 501
        1.060 > R  101:101(0)
        end 5
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, FIN_WAIT_2 1.040 presumed, CLOSED ? sent",
        None,
        "aborted",
        ("between",),
    ),
    # --- an ACK beyond a FIN that is missing is not looked at by who aborts for it ---
    Case(
        "ack_beyond_a_missing_fin_makes_it_abort",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        x 1.005 < F. 201:201(0) ack 101
        1.020 < .  202:202(0)   ack 102
        1.040 > R. 102:102(0)   ack 201
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, CLOSED ? sent",
        None,
        "aborted",
    ),
    # --- an RST that has overtaken the ACK of a FIN comes after that FIN all the same ---
    Case(
        "rst_overtakes_the_ack_of_a_fin",
        OPEN
        + """
        1.000 < F. 201:201(0)   ack 101
        1.0210 > R. 101:101(0)  ack 202
        1.0212 > .  101:101(0)  ack 202
        end 3
        """,
        f"{CLIENT_OPENS}, CLOSE_WAIT 1.020 acked, CLOSED ? sent",
        None,
        "aborted",
        ("between", "near_server"),
    ),
    # --- a FIN behind a hole is not taken, as the ACK of before in answer to it says ---
    Case(
        "fin_behind_a_hole_meets_the_ack_of_before",
        OPEN
        + """
        1.000 < F. 201:201(0)   ack 101
        1.020 > .  101:101(0)   ack 202
        ! 1.050 > P. 101:151(50) ack 202
        1.060 > F. 151:151(0)   ack 202
        1.080 < .  202:202(0)   ack 101
        3.000 > P. 101:151(50)  ack 202
        3.001 > F. 151:151(0)   ack 202
        3.020 < R. 202:202(0)   ack 151
        end 5
        """,
        None,
        f"{SERVER_OPENS}, FIN_WAIT_1 1.000 sent, FIN_WAIT_2 1.040 presumed, CLOSED ? sent",
        "aborted",
        ("near_client", "between"),
    ),
    Case(
        "fin_without_a_hole_meets_its_ack",
        OPEN
        + """
        1.000 < F. 201:201(0)   ack 101
        1.020 > .  101:101(0)   ack 202
        1.050 > P. 101:151(50)  ack 202
        1.060 > F. 151:151(0)   ack 202
        1.080 < .  202:202(0)   ack 152
        end 5
        """,
        None,
        f"{SERVER_OPENS}, FIN_WAIT_1 1.000 sent, FIN_WAIT_2 1.040 presumed, TIME_WAIT 1.080 acked",
        "normal",
        ("near_client", "between"),
    ),
    # --- TIME_WAIT sends nothing of its own accord: an RST that answers nothing is somebody else's ---
    Case(
        "rst_out_of_time_wait_that_answers_nothing",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 102
        1.040 > .  102:102(0)   ack 202
        3.000 > R  102:102(0)   id 9000
        end 5
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, TIME_WAIT 1.040 acked",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.020 sent, CLOSED 1.060 presumed",
    ),
    Case(
        "rst_with_ack_out_of_time_wait_that_answers_nothing",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 102
        1.040 > .  102:102(0)   ack 202
        3.000 > R. 102:102(0)   ack 202 id 9000
        end 5
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, TIME_WAIT 1.040 acked",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.020 sent, CLOSED 1.060 presumed",
    ),
    Case(
        "rst_out_of_time_wait_that_answers_a_fin",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 102
        ! 1.040 > .  102:102(0) ack 202
        3.000 < F. 201:201(0)   ack 102
        3.020 > R  102:102(0)
        end 5
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, TIME_WAIT 1.040 acked, CLOSED ? sent",
        None,
        "aborted",
        ("near_client", "between"),
    ),
    # --- a FIN that acknowledges less than its sender has by then is a copy that was held up, not a repetition ---
    Case(
        "fin_held_up_after_the_close",
        OPEN
        + """
        1.000 > F. 101:101(0)   ack 201
        1.020 < .  201:201(0)   ack 102
        1.100 < F. 201:201(0)   ack 102
        1.120 > .  102:102(0)   ack 202
        1.200 > F. 101:101(0)   ack 201
        1.220 < R. 202:202(0)   ack 102 id 9000
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, FIN_WAIT_2 1.040 presumed|acked, TIME_WAIT 1.120 acked, "
        "CLOSED ? presumed",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.100 sent, CLOSED 1.140 presumed",
        None,
        ("between", "near_server"),
    ),
    # --- a forged ACK of what was never sent proves nothing of the FIN that is sent much later ---
    Case(
        "an_ack_far_beyond_the_fin",
        OPEN
        + """
        0.500 > .  101:101(0)   ack 90201 id 9000
        0.520 < .  201:201(0)   ack 101
        1.000 > F. 101:101(0)   ack 201
        1.020 < F. 201:201(0)   ack 102
        1.040 > .  102:102(0)   ack 202
        end 3
        """,
        f"{CLIENT_OPENS}, FIN_WAIT_1 1.000 sent, TIME_WAIT 1.040 acked",
        f"{SERVER_OPENS}, CLOSE_WAIT 1.020 acked, LAST_ACK 1.020 sent, CLOSED 1.060 presumed",
        "normal",
    ),
]
