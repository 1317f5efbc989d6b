"""Connections: one use of a four-tuple each, with its two endpoints; made by track, its results by replay."""

from __future__ import annotations

# --- times of which the median is estimated: round trips, answers, delays between capture points (made by rtt) -------
# A record has them from E_RTT_MIN, C_RESPONSE_MIN or W_DELAY_MIN on, with words of its own between.
MEDIAN_LEAST = 0  # ns; -1 for none
MEDIAN_COUNT = 1
MEDIAN_MARKER = 10  # five heights, then five positions of the P-square median

# --- connection: one incarnation of a four-tuple (made by track; its results by replay) ------------------------------
# The words that a plain segment of an open connection reads or writes come first: four lines of the cache.
C_NET = 0  # as S_NET
C_PORTS = 1  # client port * 65536 + server port
C_CLIENT_LO = 2
C_SERVER_LO = 3
C_CLIENT_HI = 4
C_SERVER_HI = 5
C_FLAGS = 6  # CF_... bits
C_OLDER = 7  # row of the incarnation before, while that still lingers; else -1
C_LAST_TIME = 8  # ns
C_LAST_FRAME = 9
C_MARKS = 10  # M_... bits of all its segments
C_ID = 11  # conn_id; -1 while it is only pending
C_NEWER = 12  # row of the incarnation after, -1 for none
C_STREAM = 13  # Wireshark's tcp.stream of its first segment
C_STREAM_NOW = 14  # ... and of its latest: Wireshark splits where this project may not
C_COMPLETENESS = 15  # Wireshark's tcp.completeness of C_STREAM: as shown with its last segment; COMPLETE_...
C_ZEEK = 16  # what Zeek knows of it, Z_... bits
C_ZEEK_GONE = 17  # ns, when Zeek drops it; -1 for no such time
C_ZEEK_TIME = 18  # ns, its last segment as Zeek counts
C_ZEEK_ENDS = 19  # the two endpoints as Zeek has them, ZE_SIZE words each
C_HANDSHAKE_ACK_TIME = 31
# What openings, ends and the log need
C_LOG_COUNT = 32
C_LOG_HEAD = 33  # first log record, -1 for none
C_LOG_TAIL = 34
C_HASH = 35
C_LIVING = 36  # place of this row in the list of live rows
C_LIFE = 37  # LIFE_...
C_SYN_TIME = 38  # handshake as seen here: first SYN, first SYN+ACK of it, first ACK of that; -1 where not seen
C_SYN_ACK_TIME = 39
C_HISTORY = 40  # Zeek's history letters, 6 bits each, 10 to a word; three words
C_HISTORY_LENGTH = 43
C_PREVIOUS_ID = 44  # conn_id of the incarnation before, or -1
C_INCARNATION = 45
C_ROLE_BASIS = 46  # ROLE_...
C_FIRST_TIME = 47
C_FIRST_FRAME = 48
C_TAKEN_OVER = 49  # time of the SYN that took the four-tuple over, -1 for none
C_TAKEN_FRAME = 50  # its frame
C_TAKEN_BY = 51  # side that sent it
C_ACCEPTED = 52  # time at which the other side accepted it, -1 if it did not
C_TAKEN_SEQ = 53  # its ISN, relative to the E_BASE of the side that sent it
C_TAKEN_TSVAL = 54  # its TSval, -1 for none
C_OVER_TIME = 55  # the moment as of which it is judged, ns
# Results, filled when the connection is over
C_OPENING = 56  # OPENING_...
C_CLOSING = 57  # CLOSING_...
C_CLOSED_FIRST = 58  # WHO_...
C_RESET_BY = 59  # WHO_...
C_CLIENT_STATE = 60  # machine.State
C_SERVER_STATE = 61
C_CLIENT_BASIS = 62  # machine.Basis
C_SERVER_BASIS = 63
C_VANTAGE = 64  # VANTAGE_...
C_TRANSITIONS = 65  # number of rows in the transitions table
# ... and what surveys, two capture points or the user tell
C_LOCAL = 66  # WHO_...: at whose host the capture was taken, for certain
C_REFUSED = 67  # time at which the other side refused it by RST, -1 if it did not
C_CLOCK_LEAP = 68  # by how much the capture's clock ran on where the endpoints' did not, ns; made by a survey
C_PATH = 69  # its path record plus one, where there are two capture points and it was seen at both; else 0
C_NEAR = 70  # with two capture points: from the one near the client to it and back, ns; the server's; -1 unknown
# Where the time went, and for whom: made by waits
C_RESPONSE_MIN = 72  # shortest time from a request's last byte to the first byte of its answer, ns; -1 for none
C_RESPONSES = 73  # how many were measured
C_WAIT_DONE = 74  # up to when the time is accounted for, ns
C_WAIT_BITS = 75  # WB_... bits; 0 before its first segment
C_WAIT_SEEN = 76  # two words: E_NEXT of the client and of the server after the segment before
C_WAIT_SPOKE = 78  # two words: when each last sent what was new, or the end of it again, ns
C_WAIT_WAY = 80  # two words: shortest time from here to the client and back, to the server and back, ns; -1 unknown
C_RESPONSE_MARKER = 82  # five heights, then five positions of the P-square median, as in an endpoint
C_RUN = 92  # what it stands still for: kind * 2 + side; below 2 it does not
C_RUN_START = 93
C_RUN_BEFORE = 94  # the frame before
C_RUN_AFTER = 95  # the latest frame that shows it, -1 for none
C_WAIT_FRAME = 96  # the latest frame that changed what is waited for
C_RESPONSE_MAX = 97
C_REQUESTS = 98  # times that the client spoke after the server, or first
C_CROSSED = 99  # times that an end spoke while what its peer had said was still on its way to it
C_BURSTS = 100  # how often the client has spoken, after a pause each time, since the server last did
C_IDLE = 101  # silence before the last thing that happened, ns; -1 for none
C_LONGEST_WAIT = 102  # ns; 0 for none
C_LONGEST_FOR = 103  # as C_RUN
C_TIMES = 104  # time by what it went for: kind * 2 + side, 14 words
C_WAITING = 118  # what it still waits for when the capture ends, as C_RUN; 0 for nothing
C_WAIT_ROUND = 119  # where the latest burst of who spoke last began, relative as E_NEXT
C_LONGEST_BEFORE = 120  # frames before and after the longest wait, -1 for none
C_LONGEST_AFTER = 121
C_SLOWEST_FRAME = 122  # frame of the slowest answer, -1 for none
C_PAUSE = 123  # longest pause of the client within what it had to say, ns
C_PAUSE_FRAME = 124  # the frame that ended it, -1 for none
C_PAUSES = 125  # how many there were
C_DELAYED_ACKS = 126  # how often a short segment was held back until a delayed ACK; << 32: how often one was not
C_HELD_FRAME = 127  # the first such segment, -1 for none
C_RESPONSE_HALVES = 128  # eight words of four counters of 16 bits: answers by half octaves of their time
C_ROUND = 136  # for each side four words: ROUND_..., of the round trip in which it sends
C_STALL = 144  # longest pause of the server within what it had to say, ns
C_STALLS = 145  # how many there were, at least half as long
C_ASK_EVERY = 146  # time from the client's words before to its latest, the server having spoken between, ns
C_STALL_AT = 147  # how much it had said before the longest, relative as E_NEXT
C_WAIT_ACKED = 148  # when the server last acknowledged new words of the client by a pure ACK, ns
C_SLOWEST = 149  # of the slowest answer: how many took as long, within RESPONSE_ALIKE; above SLOWEST_QUICK_SHIFT: how
# many at once came after it; above SLOWEST_ASKED_SHIFT: the bytes of its request; above SLOWEST_NEXT_SHIFT: how long
# after it the client spoke, ms, plus one (0: it did not)
C_UNHURRIED = 150  # two counters of 32 bits: times that the client went on a second or more after an answer, and later
# than it had waited for it; times that C_ASK_EVERY was as before
C_LEAST_REQUEST = 151  # bytes of the shortest request that was answered, -1 for none
C_ENDPOINTS = 152  # the client's endpoint record begins here, the server's ENDPOINT_SIZE later
CONNECTION_SIZE = 312  # C_ENDPOINTS + 2 * ENDPOINT_SIZE; a test holds it to that

# One endpoint within a connection: word C_ENDPOINTS + side * ENDPOINT_SIZE + E_...
# Sequence numbers in here are 64 bits wide and relative: 0 is the endpoint's SYN, 1 its first byte of data.
E_BASE = 0  # sequence number on the wire that counts as 0
E_BASE_KNOWN = 1  # BASE_...
E_NEXT = 2  # one past the highest that it has sent (SND.NXT as seen here)
E_ACK = 3  # highest ACK that it has sent, relative to the peer; -1 for none (RCV.NXT as seen here)
E_LAST_ACK = 4  # ACK of its latest segment
E_WINDOW = 5  # window of its latest segment, bytes; where the scale is unknown, minus the field (-1 before any)
E_EDGE = 6  # highest ACK + window that it has announced, relative to the peer (the peer's SND.UNA + SND.WND)
E_SHIFT = 7  # window scale of its SYN, -1 for none seen
E_FIN = 8  # sequence number after its FIN, -1 while it has sent none
E_STAGE = 9  # ES_... bits
E_LAST_TIME = 10  # its latest segment, ns; -1 for none
E_RUN = 11  # log record that its next plain segment may extend, -1 for none
E_SEGMENTS = 12
E_BYTES = 13
E_UNIQUE = 14
E_TSVAL = 15  # latest TSval, -1 for none
E_IP_ID = 16  # of its latest segment
E_LAST_SEQ = 17  # of its latest segment
E_LAST_LEN = 18
E_LAST_FLAGS = 19  # in its lowest bits; above them what NUMBERED_SHIFT and SKIPPED_SHIFT say
E_HEAD_TIME = 20  # when the oldest unacknowledged byte was last sent, ns
E_ACK_TIME = 21  # when its ACK last advanced
E_DUP_RUN = 22  # duplicate ACKs in a row
E_BUSY_SINCE = 23  # since when it may have had more to send than it was allowed to, ns
E_CHECKSUMS = 24  # SUMS_... bits, and above them what SUMS_END_SHIFT says
E_LONGEST = 25  # longest payload that it has sent
E_BLOCKED_SINCE = 26  # since when the peer's window has kept it from sending, ns; -1 where it does not
E_HOLES = 27  # number of holes in what it has sent, 0 ... 4
E_RTT_MIN = 28  # its segment to the peer's answer, as seen here, ns; -1 for none
E_RTT_COUNT = 29
E_SAMPLES = 30  # segments whose ACK is awaited for a round-trip time: four pairs (end, time)
E_RTT_MARKER = 38  # five heights, then five positions of the P-square median
E_HOLE = 48  # four pairs (start, end)
E_RETRANSMITTED = 56
E_RETRANSMITTED_BYTES = 57
E_OUT_OF_ORDER = 58
E_DUPLICATE_ACKS = 59
E_ZERO_WINDOWS = 60
E_KEEPALIVES = 61
E_SYNS = 62
E_FINS = 63
E_RSTS = 64
E_MSS = 65  # of its SYN, -1 for none
E_OPTIONS = 66  # OPT_... of its SYN
E_BACKOFF_SEQ = 67  # first byte of its latest timeout retransmission
E_BACKOFF_COUNT = 68  # how often in a row that byte was sent again
E_FIN_TSVAL = 69  # TSval and IP identification of its first FIN, -1 for none: what bears them again is a duplicate
E_FIN_IP_ID = 70
E_TTL = 71  # TTL of its first segment
E_SYN_FLAGS = 72  # TCP flags of its first SYN: ECE and CWR ask for ECN
E_SYN_TSVAL = 73  # TSval of its first SYN, -1 for none
E_SACK_LOW = 74  # of its latest ACK with SACK blocks above the ACK: lowest left edge of those; -1 for none
E_SACK_HIGH = 75  # highest right edge that it has acknowledged by SACK, -1 for none
E_SACKS_OUTSIDE = 76  # ACKs with a SACK block that lies outside of what the peer can have sent
E_OUTSIDE_FRAME = 77  # frame of the first, -1 for none
E_ICMP = 78  # first of the records of ICMP errors that quote its segments, -1 for none
E_ICMP_COUNT = 79  # how many such errors there were
ENDPOINT_SIZE = 80
END_STACK = E_RUN  # once the connection is over: STACK_..., what system its SYN bespeaks

# E_LAST_FLAGS
LAST_FLAGS_MASK = 65535
NUMBERED_SHIFT = 16  # how often its IP identification went on by one
SKIPPED_SHIFT = 48  # how often by a few, without bytes that are missing: packets of it are not in the capture
SKIPPED_MOST = 16383
SKIPPED_NEAR = 64  # what goes on by as much or more is another counter's

# E_CHECKSUMS: which kinds were seen, 1 << (CHECKSUM_... - 1)
SUMS_GOOD = 1
SUMS_OFFLOADED = 2
SUMS_BAD = 4
SUMS_BELIEVED = 8  # the peer acknowledged what has a bad one: the capture shows segments otherwise than they travelled
SUMS_END_SHIFT = 4  # sequence number after the last of those that have a bad one, 0 for none

ROLE_SYN = 0
ROLE_SYN_ACK = 1
ROLE_PORT = 2
ROLE_FIRST_SEGMENT = 3

# C_FLAGS
CF_PENDING = 1  # a SYN inside a live connection, not yet confirmed
CF_SETTLED = 2  # both ends have sent something after the SYNs: from here only what matters is logged
CF_CLOSING = 4  # a FIN or RST was seen: from here everything is logged
CF_MIDSTREAM = 8  # no SYN and no SYN+ACK seen
CF_LOG_FULL = 16  # further marked data segments are counted but not logged
CF_DATA_IN_SYN = 32  # payload in the client's SYN
CF_FAST_OPEN = 64  # ... acknowledged by the SYN+ACK
CF_SPLIT = 128  # a later incarnation took the four-tuple over
CF_REFUSED = 256  # an RST answered its SYN
CF_SIMULTANEOUS_OPEN = 512
CF_UNCONFIRMED = 1024  # a SYN inside a live connection that nothing ever decided
CF_LONG_AFTER = 2048  # the use of the four-tuple before it was over for so long that it had been forgotten
CF_RENUMBERED = 8192  # frames are there with two numberings: before and behind a box that rewrites numbers
CF_MET_OLD = 16384  # its SYN was answered by the connection before it, with that one's numbers
CF_REPLAYED = 32768  # its segments come once more, with the stamps that they had: the capture holds itself twice
CF_BEHIND = 65536  # its latest segment was far behind the clock, which may yet prove to have been set back
CF_EMBRYO = 131072  # no row: the few words that are kept of a lone segment
CF_SET_BACK = 262144  # a segment of it is stamped a second or more before one that stands before it
CF_RESTAMPED = 524288  # its segments come once more, with later stamps: the capture was appended to itself
CF_BARE_LINK = 4096  # taken on a link without addresses: one end of that is the host that captures

BASE_NONE = 0
BASE_GUESSED = 1  # from its first segment
BASE_PEER = 2  # from the peer's ACK of its SYN
BASE_SYN = 3  # from its own SYN

# E_STAGE
ES_SYN = 1  # has sent a SYN
ES_SYN_ACK = 2  # ... with ACK
ES_PLAIN = 4  # has sent a segment with neither SYN nor RST
ES_ACKS_SYN = 8  # has acknowledged the peer's SYN
ES_ACKS_FIN = 16  # has acknowledged the peer's FIN
ES_RST = 32
ES_DATA = 64
ES_TOLD = 128  # and the bits above: letters that the history already has of it

LIFE_FREE = 0
LIFE_LIVE = 1
LIFE_DUE = 2  # over: to be replayed, written out and freed

OPENING_HANDSHAKE = 0
OPENING_SIMULTANEOUS = 1
OPENING_FAST_OPEN = 2
OPENING_MIDSTREAM = 3
OPENING_REFUSED = 4
OPENING_UNANSWERED = 5
OPENING_INCOMPLETE = 6

CLOSING_NORMAL = 0
CLOSING_SIMULTANEOUS = 1
CLOSING_HALF_CLOSED = 2
CLOSING_ABORTED = 3
CLOSING_TIMED_OUT = 4
CLOSING_NONE = 5

WHO_NOBODY = 0
WHO_CLIENT = 1
WHO_SERVER = 2
WHO_BOTH = 3

VANTAGE_UNKNOWN = 0  # no round-trip times on both sides, or too short to tell them apart
VANTAGE_NEAR_CLIENT = 1
VANTAGE_NEAR_SERVER = 2
VANTAGE_BETWEEN = 3
