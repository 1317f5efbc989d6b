"""Conversations that begin or end the examples of several families; see :mod:`tcptrace_fsm.tcp.notation`."""

from __future__ import annotations

__all__ = ["ASKED", "CLOSED", "OPENED"]

OPENED = """
            0.000 > S  0:0(0)            win 65535 <mss 1460,scale 7>
            0.020 < S. 0:0(0)     ack 1  win 65535 <mss 1460,scale 7>
            0.021 > .  1:1(0)     ack 1  win 512
"""
ASKED = """
            0.100 > P. 1:101(100) ack 1   win 512
            0.120 < .  1:1(0)     ack 101 win 512
"""
CLOSED = """
            9.000 > F. 101:101(0) ack 501 win 512
            9.020 < F. 501:501(0) ack 102 win 512
            9.021 > .  102:102(0) ack 502 win 512
"""
