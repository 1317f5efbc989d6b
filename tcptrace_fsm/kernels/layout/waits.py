"""Waits: what a connection stands still for, and for how long; made by waits."""

from __future__ import annotations

# What time goes for. The side is the sender's for a transfer, else that of the endpoint that was waited for.
WAIT_TRANSFER = 0
WAIT_HANDSHAKE = 1
WAIT_APPLICATION = 2
WAIT_WINDOW = 3
WAIT_RETRANSMISSION = 4
WAIT_DELAYED_ACK = 5
WAIT_CLOSE = 6
WAITS = 7  # how many there are

# A round trip of one side's data: from new data until more come that its ACK may have let go. Word C_ROUND + 4 * side +
ROUND_BEGAN = 0  # where the data began, relative as E_NEXT; 0 before any
ROUND_ACKED = 1  # when an ACK of them was seen, ns; -1 while there is none
ROUND_TRANSFER = 2  # the side's transfer time when it began
ROUND_FULL = 3  # transfer time that full windows have taken so far, ns: it is in the sum of the peer's window
ROUND_SIZE = 4

RESPONSE_ALIKE = 50_000_000  # ns: answers that differ by no more took the same time, give or take the way's jitter
SLOWEST_QUICK_SHIFT = 16  # parts of C_SLOWEST: counts of 16 and of 4 bits, 24 bits of bytes, 18 bits of milliseconds
SLOWEST_ASKED_SHIFT = 20
SLOWEST_NEXT_SHIFT = 44
ACK_HELD = 500_000_000  # ns: no ACK is held back for as long (RFC 9293 3.8.6.3)

# C_WAIT_BITS. Where there are two, the first is the client's.
WB_BEGUN = 1
WB_OPEN = 2  # a segment that is no SYN was seen
WB_SPOKEN = 4  # somebody has sent data
WB_SERVER_LAST = 8  # ... the server last
WB_SERVER_SPOKE = 16
WB_CLOSING = 32  # a FIN or RST was seen
WB_UNSETTLED = 64  # something is not acknowledged
WB_MORE = 128  # 128, 256: its latest data filled a segment, and no PSH says that this was all (RFC 9293 3.9.1.2)
WB_BLOCKED = 512  # 512, 1024: it spoke last, and its peer's window has no room for more
WB_LOSS = 2048  # 2048, 4096: something that it sent is missing at its peer
WB_REPEATED = 8192  # 8192, 16384: it has repeated something since it last sent what is new
WB_FIN = 32768  # 32768, 65536: it has sent a FIN
# Of who spoke last:
WB_REFUSED = 131072  # its peer shut its window on what was sent: that comes again when a timer says so
WB_TIGHT = 262144  # its peer's window has no room for a whole segment; it may have said all
WB_RELIEVED = 524288  # ... and has again, since the last that it sent
WB_HEARD = 4194304  # of the segment at hand: its sender had an ACK that the capture has not shown
WB_UNSEEN = 8388608  # of the segment at hand: a timer sent it again, and its first copy was lost on its way here
WB_SHORT = 1048576  # 1048576, 2097152: its latest data did not fill a segment: it had no more to send then

# --- wait: one interval in which a connection stood still (made by waits) --------------------------------------------
WT_CONNECTION = 0  # conn_id
WT_START = 1
WT_END = 2
WT_DURATION = 3
WT_FOR = 4  # WAIT_...
WT_SIDE = 5
WT_BEFORE = 6  # frames
WT_AFTER = 7  # -1: the capture ends before it does
WT_BASIS = 8
WAIT_SIZE = 9
WAITS_PER_SEGMENT = 3  # at most three end with one segment

# --- service: how long one server's answers took (made by services) --------------------------------------------------
SV_USED = 0  # head of the table: services that it holds
SV_SLOTS = 1  # entries that it has room for, a power of two; at most three in four are used
SV_LEFT_OUT = 2  # connections of services that it does not hold, because there are too many
SV_HEAD = 3
SERVICE_PORT = 0  # port * 2 + 1 for IPv6; -1 for a free entry
SERVICE_HI = 1  # address
SERVICE_LO = 2
SERVICE_MAX = 3  # slowest answer, ns
SERVICE_SLOWEST = 4  # conn_id of its connection, -1 while there is none
SERVICE_CONNECTIONS = 5  # connections with requests; from here on, words add up
SERVICE_REQUESTS = 6
SERVICE_RESPONSES = 7
SERVICE_WAYS = 8  # connections whose way is known
SERVICE_WAY = 9  # sum of these ways, there and back, ns
SERVICE_BUCKETS = 10  # answers by their time: sixteenths of octaves from 4 us on
SERVICE_SIZE = 458
