"""Numbers by which the kernels judge, each with its source; in milliseconds where they are times."""

from __future__ import annotations

# What a TCP answers at once, without a delayed ACK: sooner than Linux delays one at least (TCP_DELACK_MIN, 40 ms).
AT_ONCE = 30
# The same, from the other side: later than this an ACK may have been delayed (40 ms, less a tick of the clock).
DELAYED_ACK_LEAST = 38
# No retransmission timer runs out sooner: Linux's TCP_RTO_MIN, 200 ms, less a tick (RFC 6298 section 2.4 asks for 1 s).
TIMEOUT_LEAST = 190
# The same of those that keep a fine clock (gVisor's MinRTO, Linux's TCP_RTO_MIN).
LEAST_RTO = 200
# By then an answer that is due has come, where nothing tells how far away its sender is: Linux delays an ACK for 200 ms
# at most (TCP_DELACK_MAX; RFC 9293 section 3.8.6.3 allows 500 ms).
ANSWER_DUE = 250
# There and back over a satellite: an answer that took longer than this was not sent at once.
LONGEST_WAY = 600
# Two segments so near to one another may have changed places on their way, as Wireshark has it (packet-tcp.c).
OVERTAKEN_WITHIN = 3
# So many packets, numbered one by one, show that a host numbers those of a connection so; and none of its own lies
# further than that beyond them (RFC 6864: others choose at random, among 65,536).
NUMBERED_LEAST = 4
NUMBERED_WITHIN = 1024
# Three duplicate ACKs ask for a retransmission (RFC 5681 section 3.2).
DUPLICATE_ACKS_ASK = 3
# By less, queues and interfaces put segments out of order.
STAMPED_BACK = 1000
# Bytes in a segment to a host that has named no MSS: what an Ethernet frame holds (RFC 9293 section 3.7.1, RFC 894).
ETHERNET_MSS = 1460
# So much more sent than acknowledged, in bytes, fits no window that is in use: what acknowledges it was not captured.
MUCH_UNACKED = 10 << 20
# Bytes: what lies so far from where a stream ended is of another connection on the same ports. No window in use is so
# large (RFC 7323 section 2.3 would allow 1 GiB), and of two ISNs at random (RFC 6528) one in 128 lies nearer.
ELSEWHERE = 16777216
# The same where both numbers of a segment lie so far off.
BOTH_ELSEWHERE = 1 << 20
# Bytes: a TLS alert, a goodbye; with a FIN behind them nobody misses them.
LAST_WORDS = 64
# No ACK is delayed for so long (RFC 9293 section 3.8.6.3).
ACK_DUE = 500
# What is not acknowledged has been sent again by then (RFC 6298).
SENT_AGAIN = 3000
# So many steps forward by one or a few show a host that numbers the packets of each connection for itself.
STEPS_LEAST = 3
# Questions without an answer: a reset after them is about the peer's silence.
IN_VAIN = 2
# Whoever answers at once has done so after four round trips and this: Linux delays an ACK for 40 ms (TCP_DELACK_MIN).
PROMPT = 50
# The largest window scale (RFC 7323 section 2.3), which no window exceeds.
SHIFT_MOST = 14
