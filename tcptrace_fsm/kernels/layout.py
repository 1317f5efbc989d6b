"""The records that the kernels share: which word of a record holds what.

A record is a run of ``int64`` words in a flat array; ``frames[f + F_TIME]`` is the time of the frame whose record
begins at word ``f``. Sizes are in words. At build time ``setup.py`` turns these names into a C enum, so this file is
the only place that numbers them.

Times are nanoseconds since 1970 UTC. ``-1`` means "not present" where a field says so.
"""

from __future__ import annotations

from tcptrace_fsm.tcp import flags
from tcptrace_fsm.tcp.machine import Basis, Event, Opened, State

# --- frame: one captured link-layer record (made by walk) -----------------------------------------------------------
F_OFFSET = 0  # first byte of the frame in the chunk
F_CAPTURED = 1  # bytes captured
F_ORIGINAL = 2  # bytes on the wire
F_TIME = 3  # ns
F_LINK = 4  # LINKTYPE_ number (a pcapng section may mix them)
F_OUTCOME = 5  # OUTCOME_..., set by decode
FRAME_SIZE = 6

# What became of a frame. Every frame of a capture has exactly one of these.
OUTCOME_TCP = 0  # a segment record was written
OUTCOME_NOT_TCP = 1  # a sound frame that holds no TCP segment
OUTCOME_PEEL = 2  # a link or tunnel that the kernel does not know: for the slow path
OUTCOME_UNSUPPORTED_LINK = 3
OUTCOME_FRAGMENT = 4  # an IP fragment that is not the last missing piece of its TCP segment
OUTCOME_SHORT_LINK = 5  # the captured bytes end inside the link-layer header
OUTCOME_SHORT_IP = 6  # ... inside the IP header
OUTCOME_SHORT_TCP = 7  # ... inside the fixed 20 bytes of the TCP header
OUTCOME_BAD_IP_HEADER = 8  # version, header length or total length contradict each other
OUTCOME_BAD_IP_EXTENSION = 9  # IPv6 extension headers that run past the packet
OUTCOME_BAD_TCP_HEADER = 10  # data offset below 5, or past the IP payload
OUTCOME_TOO_DEEP = 11  # more layers than anybody means
OUTCOME_FILTERED = 12  # not looked at, by the user's wish: F_LINK is -1 - LINKTYPE_ number
OUTCOME_ENCRYPTED = 13  # as OUTCOME_NOT_TCP, but for what nobody can tell: IPsec's ESP
OUTCOMES = 14  # how many there are

# What the walk is told and what it answers: one row of control words.
WALK_BEGIN = 0  # first byte not yet walked; moved on by the walk
WALK_END = 1  # one past the last byte in the chunk
WALK_CAPACITY = 2  # frame records that the frames array can take
WALK_SWAPPED = 3  # 1 where the file's numbers are little-endian
WALK_TICK = 4  # pcap: nanoseconds in one unit of the fraction, 1000 or 1
WALK_HEADER = 5  # pcap: bytes in a record header, 16 or 24
WALK_LINK = 6  # pcap: LINKTYPE_ number
WALK_LENGTHS = 7  # pcap: 1 where the original length comes first, 2 where it may (the larger one is the original)
WALK_INTERFACES = 8  # pcapng: interfaces of this section
WALK_LAST_TIME = 9  # pcapng: ns, of the newest frame with a time; what a frame without one gets
WALK_TIMELESS = 10  # pcapng: frames without a time so far
WALK_STATUS = 11  # why the walk stopped, one of the next five
WALK_NEED = 12  # bytes from WALK_BEGIN on that the next step needs, or is to skip
WALK_REASON = 13  # what is wrong, DAMAGE_...
WALK_EARLIEST = 14  # ns, least and greatest time of a frame so far
WALK_LATEST = 15
WALK_HEAD = 16  # pcapng, of the packet block at hand: bytes before the packet,
WALK_INTERFACE = 17  # its interface,
WALK_CAPTURED = 18  # bytes captured, and on the wire
WALK_ORIGINAL = 19
WALK_SIZE = 20

STATUS_MORE = 0  # the next record is not wholly in the chunk
STATUS_FULL = 1  # the frames array is full
STATUS_BLOCK = 2  # pcapng: a section header, interface, statistics or name block stands at WALK_BEGIN, whole
STATUS_SKIP = 3  # pcapng: WALK_NEED bytes that nobody reads
STATUS_DAMAGED = 4

DAMAGE_LENGTH = 1  # a packet longer than any capture takes
DAMAGE_BLOCK_LENGTH = 2  # a block shorter than its own fields, or longer than any
DAMAGE_BLOCK_TRAILER = 3  # the two copies of a block's length differ
DAMAGE_PACKET_IN_BLOCK = 4  # a packet longer than the block that holds it
DAMAGE_INTERFACE = 5  # a packet of an interface that nobody described
LIMIT_PACKET = 262144  # bytes; the largest that libpcap and Wireshark take as well
LIMIT_BLOCK = 16777216  # bytes; as in Wireshark

# pcapng interface: one row of the interface table.
IF_LINK = 0  # LINKTYPE_ number
IF_SNAPLEN = 1  # 0 for no limit
IF_UNIT = 2  # UNIT_...
IF_FACTOR = 3  # what UNIT_ says
IF_OFFSET = 4  # ns added to each time
IF_SIZE = 5
UNIT_TIMES = 0  # time in ns = stamp * factor
UNIT_PART = 1  # stamp // factor
UNIT_BINARY = 2  # stamp in units of 2 ** -factor seconds

# --- segment: one TCP segment (made by decode) ----------------------------------------------------------------------
S_FRAME = 0  # frame number, from 1
S_TIME = 1  # ns
S_NET = 2  # encapsulation code * 2 + (1 for IPv6); the code is 0 for none, see links.py
S_SRC_HI = 3  # IPv6 address, upper 64 bits as a signed word; 0 for IPv4
S_SRC_LO = 4  # IPv6 address, lower 64 bits as a signed word; IPv4 address as a number
S_DST_HI = 5
S_DST_LO = 6
S_PORTS = 7  # source port * 65536 + destination port
S_SEQ = 8  # as on the wire, 0 ... 2**32 - 1
S_ACK = 9
S_FLAGS = 10  # TCP_FIN ... TCP_AE; in a record for Wireshark's streams alone TCP_BROKEN and what goes with it
S_LEN = 11  # payload bytes by the IP header (not by what was captured)
S_WINDOW = 12  # the 16-bit field, unscaled
S_OPTIONS = 13  # OPT_... bits
S_TSVAL = 14  # where OPT_TIMESTAMPS
S_TSECR = 15
S_MSS = 16  # where OPT_MSS
S_SHIFT = 17  # where OPT_SCALE
S_SACKS = 18  # number of SACK blocks, 0 ... 4
S_SACK = 19  # first of 8 words: left edge, right edge, left edge ...
S_IP_ID = 27  # IPv4 identification, -1 for IPv6
S_TTL = 28  # TTL or hop limit
S_CHECKSUM = 29  # CHECKSUM_...
S_STREAM = 30  # Wireshark's tcp.stream << STREAM_SHIFT | tcp.completeness as tshark prints it; -1 for none; by track
S_OFFSET = 31  # first byte of the TCP header in the chunk; -1 where it lies in no chunk (slow path)
S_SHOWN = 32  # Wireshark's tcp.len: of S_LEN what the frame had room for on the wire; -1 where Wireshark has none
S_CONNECTION = 33  # conn_id, set by track
S_SIDE = 34  # CLIENT or SERVER, the sender; set by track
S_MARKS = 35  # M_... bits, set by track; before that the timeline's clock, ns, where others know more of it; else 0
S_FATE = 36  # FATE_..., set by pair where there are two capture points
S_ARRIVAL = 37  # ns, when all of it was at the other point, where FATE_ARRIVED or FATE_PARTLY
S_ARRIVAL_FRAME = 38  # its (last) frame there
S_LOST = 39  # payload bytes that did not get there
SEGMENT_SIZE = 40

# In a record with TCP_QUOTED: what the ICMP error says, in words that a quoted header does not use.
Q_KIND = S_SACK  # type | code << 8
Q_MTU = Q_KIND + 1  # MTU of the next hop, where the error names one; else -1
Q_FROM_HI = Q_KIND + 2  # who sent the error, as S_SRC_HI and S_SRC_LO
Q_FROM_LO = Q_KIND + 3
Q_SIZE = Q_KIND + 4  # total length of the quoted IP packet, by its header

# What became of a segment between two capture points.
FATE_UNKNOWN = 0  # one capture point only, or nothing can be said
FATE_ARRIVED = 1  # seen at both
FATE_PARTLY = 2  # some of its bytes were not: it was cut into several on the way, and not all of them arrived
FATE_LOST = 3  # never came to the other point, which was being captured
FATE_MISSED = 4  # it did, for it was acknowledged, but that capture has no frame of it
FATE_FOREIGN = 5  # seen at its receiver's point, though it never left its sender's: somebody else sent it
FATE_COPY = 6  # once more at its receiver's point what was sent once: the network's copy, or the capture's
FATES = 7  # how many there are

# Links that decode reads itself (https://www.tcpdump.org/linktypes.html); all others go the slow way.
LINK_NULL = 0
LINK_ETHERNET = 1
LINK_RAW_BSD = 12
LINK_RAW_OPENBSD = 14
LINK_RAW = 101
LINK_LOOP = 108
LINK_SLL = 113
LINK_IPV4 = 228
LINK_IPV6 = 229
LINK_SLL2 = 276

# TCP header flags, as on the wire; AE is bit 0 of the byte before (RFC 9293 3.1, RFC 9768).
TCP_FIN = flags.TCP_FIN
TCP_SYN = flags.TCP_SYN
TCP_RST = flags.TCP_RST
TCP_PSH = flags.TCP_PSH
TCP_ACK = flags.TCP_ACK
TCP_URG = flags.TCP_URG
TCP_ECE = flags.TCP_ECE
TCP_CWR = flags.TCP_CWR
TCP_AE = flags.TCP_AE

# Beside the flags: Wireshark calls this TCP, and it is no segment here. Such a record serves Wireshark's streams alone.
TCP_BROKEN = 512  # the TCP header contradicts itself, or the capture ends in it
TCP_QUOTED = 1024  # ... or it is a header that an ICMP error quotes; Wireshark's filter `not icmp` hides it
TCP_MUTE = 2048  # its flags count for nothing
TCP_STREAMLESS = 4096  # too little of it to have a stream

# Options seen in the header (RFC 9293 3.1, RFC 7323, RFC 2018, RFC 7413, RFC 8684, RFC 2385, RFC 5925).
OPT_MSS = 1
OPT_SCALE = 2
OPT_SACK_PERMITTED = 4
OPT_SACK = 8
OPT_TIMESTAMPS = 16
OPT_FAST_OPEN = 32  # kind 34, or the experimental kind 254 with its magic
OPT_FAST_OPEN_COOKIE = 64  # ... with a cookie in it
OPT_MULTIPATH = 128
OPT_MD5 = 256
OPT_AO = 512
OPT_DAMAGED = 1024  # an option runs past the header or has an impossible length; what follows it was not read
OPT_SHORT = 2048  # the capture ends inside the options
OPT_NOP_RUN = 4096  # four or more NOPs in a row
OPT_BARE_LINK = 8192  # no option: the frame has no link-layer addresses, as on a tun device, and no tunnel inside

CHECKSUM_UNKNOWN = 0  # not all of the segment was captured
CHECKSUM_GOOD = 1
CHECKSUM_OFFLOADED = 2  # only the pseudo-header is summed: the network card was to do the rest
CHECKSUM_BAD = 3

STREAM_SHIFT = 6

# What keeps decode from believing all that a packet says; together in one word.
DOUBT_ROUTED = 1
DOUBT_PART = 2

CLIENT = 0
SERVER = 1

MILLISECOND = 1000000  # ns

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
C_DELAYED_ACKS = 126  # how often a short segment was held back until a delayed ACK
C_HELD_FRAME = 127  # the first such segment, -1 for none
C_ENDPOINTS = 128  # the client's endpoint record begins here, the server's ENDPOINT_SIZE later
CONNECTION_SIZE = 288  # C_ENDPOINTS + 2 * ENDPOINT_SIZE; a test holds it to that

# What time goes for. The side is the sender's for a transfer, else that of the endpoint that was waited for.
WAIT_TRANSFER = 0
WAIT_HANDSHAKE = 1
WAIT_APPLICATION = 2
WAIT_WINDOW = 3
WAIT_RETRANSMISSION = 4
WAIT_DELAYED_ACK = 5
WAIT_CLOSE = 6
WAITS = 7  # how many there are

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
WAITS_PER_SEGMENT = 3  # at most so many end with one segment

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
E_LAST_FLAGS = 19
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

# E_CHECKSUMS: which kinds were seen, 1 << (CHECKSUM_... - 1)
SUMS_GOOD = 1
SUMS_OFFLOADED = 2
SUMS_BAD = 4
SUMS_BELIEVED = 8  # the peer acknowledged what has a bad one: the capture shows segments otherwise than they travelled
SUMS_END_SHIFT = 4  # sequence number after the last of those that have a bad one, 0 for none

HISTORY_PER_WORD = 10  # letters of C_HISTORY to a word, 6 bits each
HISTORY_MOST = 30
HISTORY_FLIPPED = 27  # the letter ^: the originator is not the sender of the first segment
HISTORY_S = 0  # the other letters, as many as are written by the kernels; labels.HISTORY_LETTERS has them all
HISTORY_H = 1
HISTORY_A = 2
HISTORY_D = 3
HISTORY_F = 4
HISTORY_R = 5
HISTORY_C = 6
HISTORY_G = 7
HISTORY_T = 8
HISTORY_W = 9
HISTORY_I = 10
HISTORY_Q = 11

# C_ZEEK
Z_STARTED = 1
Z_FLIPPED = 2  # Zeek's originator is our server
Z_GONE = 4  # Zeek has dropped the connection: what comes now belongs to another one of Zeek's
Z_RSTOS0 = 8  # its originator sent a SYN, then an RST, and nothing that counts between
Z_SPOILED = 16  # ... something that does
Z_SETTLED = 32  # one endpoint is past the handshake
Z_ATTEMPT = 64  # C_ZEEK_GONE holds only while the SYN is unanswered
Z_PARTIAL = 128  # begun without a SYN
Z_EMPTY = 256  # reset by both ends, without any data
Z_CLOSED_CLIENT = 512
Z_CLOSED_SERVER = 1024
Z_STATE_SHIFT = 11  # 3 bits for the client, 3 for the server
Z_BEFORE_SHIFT = 17  # the states before those
Z_STATES = 129024  # the bits of the two states
Z_BOTH_ESTABLISHED = 73728  # both of them established
Z_INACTIVE = 0  # TCP_ENDPOINT_...
Z_SYN_SENT = 1
Z_SYN_ACK_SENT = 2
Z_PARTIAL_STATE = 3
Z_ESTABLISHED = 4
Z_CLOSED = 5
Z_RESET = 6
ZEEK_TOO_FAR = 1048576  # bytes; TOO_LARGE_SEQ_DELTA
ZEEK_NEAR = 1073741824  # bytes; below it 32-bit numbers need no thought of wrapping

# One endpoint as Zeek has it: word C_ZEEK_ENDS + side * ZE_SIZE + ZE_...
ZE_START = 0  # 32-bit sequence number of its SYN
ZE_LAST = 1  # one past the highest that it has sent, 32 bits, counted from there
ZE_ACK = 2  # ... that was acknowledged
ZE_REACHED = 3  # up to where holes were told, relative as in E_NEXT
ZE_COUNTS = 4  # four counts of 15 bits: what Zeek tells the first, tenth, hundredth ... time
ZE_NUMBERS = 5  # lower 31 bits of where its last FIN ended and, above, its last RST lay
ZE_SIZE = 6
ZE_CHECKSUMS = 0
ZE_AGAIN = 15
ZE_WINDOWS = 30
ZE_GAPS = 45

# Wireshark's streams: a table of its own.
W_NUMBER = 0  # tcp.stream
W_LOW_BASE = 1  # what Wireshark takes for the ISN of the smaller end and of the larger; -1 for none
W_HIGH_BASE = 2
W_BITS = 3  # tcp.completeness, W_MET, W_BASES, then what more its first segment shows to who reads the capture twice
STREAM_SIZE = 4
W_MET = 64  # a segment of it was seen
W_BASES = 128  # both bases are known
W_FIRST_SHIFT = 8
COMPLETE_SYN = 1
COMPLETE_SYN_ACK = 2
COMPLETE_ACK = 4
COMPLETE_DATA = 8
COMPLETE_FIN = 16
COMPLETE_RST = 32
COMPLETE_WHOLE_SHIFT = 8  # ... of all its segments, in a row's word
COMPLETE_CALM = 16384  # a row's segments come to its stream alone, and one like those before changes nothing there

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

# --- log: the segments of a connection that the replay and the rules may need (made by track) ------------------------
L_TIME = 0  # ns
L_FRAME = 1
L_INFO = 2  # flags | side << 12 | payload bytes << 16 | segments in the run << 40
L_SEQ = 3  # 64 bits, relative to the sender's E_BASE
L_ACK = 4  # 64 bits, relative to the peer's E_BASE; -1 without ACK flag or base
L_MARKS = 5
L_WINDOW = 6  # bytes; where the scale is unknown, minus the field
L_TSVAL = 7  # -1 for none
L_TSECR = 8
L_END_TIME = 9  # of the last segment in the run
L_END_FRAME = 10
L_NEXT = 11  # next log record of the connection, -1 for none
L_FATE = 12  # FATE_... | TTL << 8 | (IP identification + 1) << 16 | CHECKSUM_... << 36 | OPT_... bits << 40;
# all but the first of a run's first segment
L_ARRIVAL = 13  # as S_ARRIVAL, S_ARRIVAL_FRAME
L_ARRIVAL_FRAME = 14
L_END_ARRIVAL = 15  # of the last segment in the run
LOG_SIZE = 16
LOG_BLOCK = 32  # words: a connection takes and returns two records at a time, which lie side by side

# --- path: what two capture points tell of a connection's two ways (made by track) ----------------------------------
# One record per sender: path + side * WAY_SIZE + W_... The delays lie as the round-trip times lie in an endpoint.
W_DELAY_MIN = 0  # from point to point, ns; -1 for none
W_DELAYS = 1  # how many were measured
W_LOST = 2  # segments lost between the points, in whole or in part
W_LOST_BYTES = 3  # their payload
W_BEFORE = 4  # lost before the first point
W_AFTER = 5  # lost behind the last point
W_MISSED = 6  # that arrived without a frame of theirs in the capture there
W_FOREIGN = 7
W_REORDERED = 8  # that arrived after one which was sent later
W_LAST_ARRIVAL = 9  # latest arrival so far
W_DELAY_MARKER = 10  # five heights, then five positions of the P-square median
W_GONE = 20  # three pairs (start, end): sequence space that did not arrive, latest last
W_FORGOTTEN = 26  # where the last of those ended that found no room
W_TURN = 27  # from the arrival of a SYN at the point near its receiver to the answer's passing there, ns; -1 unknown
W_END = 28  # where the SYN ended that awaits its answer, and when it arrived
W_END_ARRIVAL = 29
WAY_SIZE = 30
PATH_SIZE = 60

# --- pair: what waits for its counterpart at the other capture point -------------------------------------------------
# A segment record of SEGMENT_SIZE words, then:
H_POINT = 40  # 0 or 1: the capture that it is of
H_OPEN = 41  # OPEN_...
H_BUCKET = 42  # of the hash of its content
H_OLDER = 43  # waiting record in the same bucket before it, plus one; 0 for none
H_NEWER = 44
H_WAY = 45  # its way, plus one
H_BEFORE = 46  # waiting open record of the same way before it, plus one; 0 for none
H_AFTER = 47
H_COVERED = 48  # units of sequence space that were seen at the other point
H_AGAIN = 49  # 1 where the same bytes arrived by another copy: an ACK of them tells nothing of this one
H_END_SEEN = 50  # 1 where its last unit of sequence space was seen at the other point
H_LISTED = 51  # 1 while it is in its way's list of open records, 2 where it repeats what was sent before
HELD_SIZE = 52

OPEN_WAITING = 0  # its counterpart may still come
OPEN_ACKED = 1  # ... though an ACK of it was seen
OPEN_SETTLED = 2

# One direction between two sockets, or (G_PORTS -1) between two hosts.
G_USED = 0  # hash plus one; 0 for a free slot
G_PORTS = 1
G_SRC_HI = 2
G_SRC_LO = 3
G_DST_HI = 4
G_DST_LO = 5
G_NET = 6
G_POINT = 7  # at which point its sender is: 1 or 2; 0 while unknown
G_FIRST = 8  # first and last open record, plus one
G_LAST = 9
G_HELD = 10  # waiting records
G_NEXT = 11  # one past the highest sequence number sent, on the wire; -1 for none
G_TOP = 12  # ... that arrived
G_ACK = 13  # highest ACK of it, on the wire; -1 for none
G_TIME = 14  # latest segment, ns
G_REPEATS = 15  # open records that repeat what was sent before
G_HOLES = 16  # four pairs (start, end): sequence space, on the wire, that its sender's capture passed over; -1 for none
WAY_ENTRY = 24

V_FIRST_NEXT = 0  # next segment of the first and of the second capture
V_SECOND_NEXT = 1
V_FIRST_OVER = 2  # 1 where that capture has no more
V_SECOND_OVER = 3
V_HEAD = 4  # oldest waiting record, counted from the beginning
V_TAIL = 5  # one past the newest
V_ROOM = 6  # records that the ring takes, a power of two
V_BUCKETS = 7  # a power of two
V_WAYS = 8  # slots for ways, a power of two
V_WAYS_USED = 9
V_WINDOW = 10  # how long a counterpart is waited for, ns
V_LEAST = 11  # least delay between the points, ns
V_SEED = 12
V_NUMBERED = 13  # 1 where the IP identification is the same at both points
V_BEGAN = 14  # two words: since when each capture certainly ran, ns
V_ENDED = 16  # two words: until when
V_MISSES = 18  # two words: 1 where the capture is known to lack frames that passed
V_NOW = 20  # latest time, ns
V_LAST = 21  # time of the segment given out last
V_OUT_ROOM = 22  # records that the output takes
V_FLUSH = 23  # 1: no more will come, decide what waits
V_FOUND = 24  # two words: frames that each capture was found to lack
V_KEPT = 26  # oldest record that is remembered after it was given out, to tell copies of it
V_MEMORY = 27  # how many are
V_SIZE = 28

OLD_TICKS = 16777216  # of a timestamp clock: more than four hours at one a millisecond, the fastest that is allowed
LOG_SIDE_SHIFT = 12
LOG_LEN_SHIFT = 16
LOG_RUN_SHIFT = 40
LOG_FLAGS_MASK = 511
LOG_LEN_MASK = 16777215
# L_FATE
LOG_FATE_MASK = 255
LOG_TTL_SHIFT = 8
LOG_IP_ID_SHIFT = 16
LOG_IP_ID_MASK = 131071
LOG_CHECKSUM_SHIFT = 36
LOG_OPTIONS_SHIFT = 40

# --- ICMP error that quotes a segment of a connection (made by track; kept beside the log, in blocks of its memory) ---
I_TIME = 0  # ns
I_FRAME = 1
I_KIND = 2  # type | code << 8 | ICMP_... bits
I_SEQ = 3  # of the quoted segment, 64 bits, relative to its sender's E_BASE; -1 where that is not known
I_MTU = 4  # as Q_MTU
I_FROM_HI = 5
I_FROM_LO = 6
I_SIZE = 7  # as Q_SIZE
I_FLAGS = 8  # TCP flags of the quoted segment, -1 where they are not quoted
I_TTL = 9  # TTL of the quoted packet when the error was made
I_IP_ID = 10  # its IPv4 identification, -1 for IPv6
I_NEXT = 11  # as L_NEXT
I_TAIL = 12  # in the first record of a chain: the last
I_KEPT = 13  # ... and how many there are
ICMP_SIX = 65536  # ICMPv6
ICMP_OUTSTANDING = 131072  # the quoted number was sent and not acknowledged at that moment (RFC 5927 4.1)
ICMP_MOST = 64  # errors kept of one endpoint's segments; more are counted

# --- transition: one state change of one endpoint (made by replay) ---------------------------------------------------
T_CONNECTION = 0  # conn_id
T_SIDE = 1
T_TIME = 2
T_EARLIEST = 3  # -1: before the capture
T_LATEST = 4
T_FRAME = 5  # -1 for a timer
T_FROM = 6
T_TO = 7
T_EVENT = 8
T_BASIS = 9
T_CONFIRMED_BY = 10  # frame, -1 for none
TRANSITION_SIZE = 11

# --- scratch of the replay: what it holds of the endpoint at hand ---------------------------------------------------
X_STATE = 0  # machine.State
X_OPENED = 1  # machine.Opened
X_STARTED = 2  # 1 once the endpoint has left its first state
X_TOP = 3  # next free word in the transitions
X_TIME = 4  # of its latest change: times never run backwards
X_SINCE = 5  # when TIME_WAIT was entered or restarted, or FIN_WAIT_2 entered
X_BASIS = 6  # of its latest change
X_ASKED = 7  # segments that ask for an answer which the peer has sent since it last heard of the endpoint
X_SAW = 8  # bits of the states it has been in
X_HALF = 9  # half a round trip between capture point and endpoint, ns
X_SLACK = 10  # what arrival times may be off by, ns
X_REACH = 11  # how far from its passing here a segment may have been sent or received, ns
X_LAST_SYN = 12  # capture times of its own last SYN, SYN+ACK, FIN, and segment other than RST; -1 for none
X_LAST_SYN_ACK = 13
X_LAST_FIN = 14
X_LAST_ALIVE = 15
X_SYNS = 16  # how many SYNs (or SYN+ACKs) and FINs it sent, and the gap before the last
X_SYN_GAP = 17
X_FINS = 18
X_FIN_GAP = 19
X_FIRST_FIN = 20
X_SYN_COPY = 21  # the copy of the peer's SYN, SYN+ACK and FIN that reached it: index in the log, -1 for none
X_SYN_ACK_COPY = 22
X_FIN_COPY = 23
X_SYN_PROOF = 24  # its own segment that proves so, -1 for none
X_SYN_ACK_PROOF = 25
X_FIN_PROOF = 26
X_PLAIN_PROOF = 27  # its first own segment with neither SYN nor RST
X_UNSEEN_FIN = 28  # the peer's segment that acknowledges a FIN which is not in the capture, -1 for none
X_PEER_UNSEEN_FIN = 29  # its own segment that acknowledges such a FIN of the peer
X_DENIED = 30  # how many ACKs of its FIN or SYN it has shown not to have received
X_FIN_TAKEN = 31  # 1 once the peer's FIN was processed
X_FIN_END = 32  # sequence number after its own FIN, -1 for none
X_PEER_FIN_END = 33
X_UNSEEN = 34  # 1 where the capture holds nothing from it
X_PEER_UNSEEN = 35
X_END = 36  # last moment that counts, ns
X_LOCAL = 37  # 1 where the capture was taken at this endpoint's host
X_FIN_FILL = 38  # the peer's segment that filled the hole before its FIN: index in the log, -1 for none
X_OWN = 39  # its own latest segment so far, -1 for none
X_OWN_ACK = 40  # the highest ACK that it, and that its peer, has sent so far; -1 for none
X_PEER_ACK = 41
X_NEXT_OWN = (
    42  # its next segment in the log, and its peer's next RST: what was looked for before is not looked for again
)
X_NEXT_RST = 43
X_SYN_ACK_TSVAL = 44  # TSval of its first SYN+ACK, -1 for none
X_OVERLOOKED = 45  # 1 where what should have been acknowledged at once never was, at the endpoint's own host
X_CHALLENGE = 46  # capture time of its latest pure ACK that repeats the one before, -1 for none
X_SYN_ACK = 47  # its latest SYN+ACK so far, -1 for none
X_OWN_NEXT = 48  # one past the highest that it has sent so far, -1 for nothing
X_TURNED_AWAY = 49  # capture time of the peer's latest segment that could not complete the handshake, -1 for none
X_TIMERS = 50  # where the timers of its host begin
X_SHUT = 51  # 1 where what it had to send at last was held back by a shut window
X_FIN_UNHEARD = 52  # 1 where it answered by RST what its peer had sent before it heard of the endpoint's FIN
X_OVERTAKEN = 53  # its peer's last segment that came late, and was sent before its peer heard of the endpoint's FIN
X_FIN_AFTER = 54  # 1 where its own FIN, lost or overtaken on its way here, was sent after it had taken the peer's
SCRATCH_SIZE = 55

# --- timers of one kind of host, ns: the profile's, then those of the hosts that have shown theirs --------------------
P_TIME_WAIT_LEAST = 0
P_TIME_WAIT_USUAL = 1
P_TIME_WAIT_MOST = 2
P_FIN_WAIT_2_LEAST = 3
P_FIN_WAIT_2_USUAL = 4
P_FIN_WAIT_2_MOST = 5
P_TIME_WAIT_BASIS = 6  # what an end by this timer rests on: BASIS_TIMER or BASIS_LEARNED
P_FIN_WAIT_2_BASIS = 7
PROFILE_SIZE = 8

# --- control words of the tracker ------------------------------------------------------------------------------------
K_SEED = 0  # of the hash, random per run
K_SLOTS = 1  # size of the hash table, a power of two
K_USED = 2  # slots in use
K_NEXT_ID = 3  # next conn_id
K_ROW_FREE = 4  # first free row of the list through C_OLDER, -1 for none
K_ROW_TOP = 5  # rows ever used
K_LOG_FREE = 6  # first of the free blocks of log records, linked like a connection's log; -1 for none
K_LOG_TOP = 7
K_NOW = 8  # the timeline's clock: the latest capture time, ns, since it was last set back
K_LIVE = 9  # live rows
K_SWEEP = 10  # where the sweep over the live rows goes on
K_DUE = 11  # rows in the due list
K_LINGER = 12  # how long a closed connection is kept for late segments, ns
K_LINGER_SYN = 13  # how long an unanswered SYN is kept, ns
K_NEXT_STREAM = 14  # next tcp.stream
K_BEHIND = 15  # segments in a row that were far behind the clock
K_LOG_LIMIT = 16  # log records per connection before marked data segments are only counted
K_CROWD = 17  # live rows from which on those that came to nothing, or are over, leave sooner
K_PATIENCE = 18  # how long they may then be silent, ns
K_HURRIED = 19  # how many left sooner
K_STREAM_SLOTS = 20  # size of the table of streams, a power of two
K_MIXED = 21  # 1 once a stream may have met segments that its row has not: from a VLAN or tunnel, or broken ones
K_STREAM_MOST = 22  # streams that are remembered, a power of two
K_PAST = 23  # size of the table of past uses, a power of two
K_PAST_USED = 24  # entries in it
K_PATH_FREE = 25  # first free path record of the list through its first word, plus one; 0 for none
K_PATH_TOP = 26
K_LONGEST = 27  # most log records of any due connection: how much scratch the replay needs
K_SET_BACK = 28  # frame with which the clock was last set back, 0 for none
K_WAITS = 29  # next free word of the waits
CONTROL_SIZE = 30

CLOCK_SLACK = 60000  # ms that a segment may be behind the clock
CLOCK_PROOF = 8  # segments in a row that are further behind, and the clock was set back

# Past uses of four-tuples: each entry begins with the words C_NET to C_SERVER_HI of the row that it remembers.
P_HASH = 6
P_USE = 7  # (conn_id << PAST_SHIFT | incarnation) + 1; 0: free
PAST_SIZE = 8
PAST_SHIFT = 20
PAST_MOST = 1 << 19  # a use is remembered until as many other connections have begun

# --- marks: what is notable about one segment (bit numbers; M_... are masks in kernels, MARKS names them) -----------
MARK_RETRANSMISSION = 0  # repeats sequence space that was seen before
MARK_TIMEOUT = 1  # ... after a retransmission timeout
MARK_FAST = 2  # ... after three duplicate ACKs or SACK
MARK_TAIL_LOSS_PROBE = 3  # ... of the last segment, before any timeout
MARK_SPURIOUS = 4  # ... although the peer's ACK of it had passed here
MARK_NETWORK_DUPLICATE = 5  # the very same packet again
MARK_OUT_OF_ORDER = 6  # fills a hole, and was overtaken
MARK_LOST_BEFORE = 7  # fills a hole, and was sent again
MARK_GAP = 8  # opens a hole: bytes before it have not been seen
MARK_DUPLICATE_ACK = 9
MARK_KEEPALIVE = 10
MARK_KEEPALIVE_ACK = 11
MARK_ZERO_WINDOW = 12
MARK_ZERO_WINDOW_PROBE = 13
MARK_ZERO_WINDOW_PROBE_ACK = 14
MARK_WINDOW_UPDATE = 15
MARK_WINDOW_FULL = 16
MARK_ACK_UNSEEN = 17  # acknowledges bytes that were not seen
MARK_ACK_PLUS_ONE = 18  # ... exactly one: a FIN that was not seen, or a byte
MARK_OUT_OF_WINDOW = 19
MARK_FIRST_PLAIN = 20  # first segment of this endpoint with neither SYN nor RST
MARK_ACKS_SYN = 21  # first ACK of the peer's SYN
MARK_ACKS_FIN = 22  # first ACK of the peer's FIN
MARK_ACK_AGAIN = 23  # pure ACK with nothing new, after a FIN
MARK_AFTER_RST = 24  # from an endpoint that has sent an RST
MARK_BEYOND_FIN = 25  # data behind its own FIN
MARK_FIN_MOVED = 26  # a FIN that ends elsewhere than the one before
MARK_STRAY_SYN = 27  # a SYN in a live connection that came to nothing
MARK_ACK_BEYOND = 28  # acknowledges what lies beyond the peer's FIN, or in a SYN+ACK no SYN: nobody takes it
MARK_FIN_OLD = 29  # a FIN where its sender has sent something else before
MARK_PAWS = 30  # older timestamp than one before it
MARK_BAD_CHECKSUM = 31
MARK_DSACK = 32  # first SACK block tells of a duplicate (RFC 2883)
MARK_CAPTURE_DUPLICATE = 33  # the capture holds the same frame twice
MARK_TIME_BACK = 34  # stamped earlier than the segment before
MARK_SYN_AGAIN = 35
MARK_SYN_ACK_AGAIN = 36
MARK_FIN_AGAIN = 37
MARK_BASE_CHANGED = 38  # SYN+ACK with another ISN or ACK than the one before, or than there can be
MARK_ACK_OLD = 39  # ACK below one that it has sent before
MARK_SYN_DATA = 40
MARK_WINDOW_SHRUNK = 41
MARK_ODD_FLAGS = 42  # combinations that no TCP sends
MARK_RST_INEXACT = 43  # RST within the window but not at its left edge (RFC 5961)
MARK_RST_OUTSIDE = 44  # RST outside the window
MARK_SENT_BEFORE = 45  # a FIN that had been sent before, out of sight: its sender's IP identification skips one
MARK_HALF_CLOSE_DATA = 46  # new data from an endpoint that has acknowledged the peer's FIN
MARK_CLOSE_SLOW = 47  # a FIN five seconds or more after its sender acknowledged the peer's
MARK_REPLY_RST = 48  # an RST that answers one segment, from a host that has no such connection (RFC 9293 3.5.2)
MARK_WINDOW_OPENED = 49  # a window that had been 0
MARK_ICMP = 50  # no segment bears it: an ICMP error quotes one of the connection's
MARK_RST_DRAWN = 51  # an RST that comes at once behind what it answers: data, a probe or a FIN
MARKS = 52  # how many there are
# Two bits of S_MARKS alone, which are no marks: with this segment a conn_id, or a tcp.stream, was given.
SEGMENT_NAMES = 60
SEGMENT_BEGINS_STREAM = 61

# The same as masks
M_RETRANSMISSION = 1 << MARK_RETRANSMISSION
M_TIMEOUT = 1 << MARK_TIMEOUT
M_FAST = 1 << MARK_FAST
M_TAIL_LOSS_PROBE = 1 << MARK_TAIL_LOSS_PROBE
M_SPURIOUS = 1 << MARK_SPURIOUS
M_NETWORK_DUPLICATE = 1 << MARK_NETWORK_DUPLICATE
M_OUT_OF_ORDER = 1 << MARK_OUT_OF_ORDER
M_LOST_BEFORE = 1 << MARK_LOST_BEFORE
M_GAP = 1 << MARK_GAP
M_DUPLICATE_ACK = 1 << MARK_DUPLICATE_ACK
M_KEEPALIVE = 1 << MARK_KEEPALIVE
M_KEEPALIVE_ACK = 1 << MARK_KEEPALIVE_ACK
M_ZERO_WINDOW = 1 << MARK_ZERO_WINDOW
M_ZERO_WINDOW_PROBE = 1 << MARK_ZERO_WINDOW_PROBE
M_ZERO_WINDOW_PROBE_ACK = 1 << MARK_ZERO_WINDOW_PROBE_ACK
M_WINDOW_UPDATE = 1 << MARK_WINDOW_UPDATE
M_WINDOW_FULL = 1 << MARK_WINDOW_FULL
M_ACK_UNSEEN = 1 << MARK_ACK_UNSEEN
M_ACK_PLUS_ONE = 1 << MARK_ACK_PLUS_ONE
M_OUT_OF_WINDOW = 1 << MARK_OUT_OF_WINDOW
M_FIRST_PLAIN = 1 << MARK_FIRST_PLAIN
M_ACKS_SYN = 1 << MARK_ACKS_SYN
M_ACKS_FIN = 1 << MARK_ACKS_FIN
M_ACK_AGAIN = 1 << MARK_ACK_AGAIN
M_AFTER_RST = 1 << MARK_AFTER_RST
M_BEYOND_FIN = 1 << MARK_BEYOND_FIN
M_FIN_MOVED = 1 << MARK_FIN_MOVED
M_STRAY_SYN = 1 << MARK_STRAY_SYN
M_ACK_BEYOND = 1 << MARK_ACK_BEYOND
M_FIN_OLD = 1 << MARK_FIN_OLD
M_PAWS = 1 << MARK_PAWS
M_BAD_CHECKSUM = 1 << MARK_BAD_CHECKSUM
M_DSACK = 1 << MARK_DSACK
M_CAPTURE_DUPLICATE = 1 << MARK_CAPTURE_DUPLICATE
M_TIME_BACK = 1 << MARK_TIME_BACK
M_SYN_AGAIN = 1 << MARK_SYN_AGAIN
M_SYN_ACK_AGAIN = 1 << MARK_SYN_ACK_AGAIN
M_FIN_AGAIN = 1 << MARK_FIN_AGAIN
M_BASE_CHANGED = 1 << MARK_BASE_CHANGED
M_ACK_OLD = 1 << MARK_ACK_OLD
M_SYN_DATA = 1 << MARK_SYN_DATA
M_WINDOW_SHRUNK = 1 << MARK_WINDOW_SHRUNK
M_ODD_FLAGS = 1 << MARK_ODD_FLAGS
M_RST_INEXACT = 1 << MARK_RST_INEXACT
M_RST_OUTSIDE = 1 << MARK_RST_OUTSIDE
M_SENT_BEFORE = 1 << MARK_SENT_BEFORE
M_HALF_CLOSE_DATA = 1 << MARK_HALF_CLOSE_DATA
M_CLOSE_SLOW = 1 << MARK_CLOSE_SLOW
M_REPLY_RST = 1 << MARK_REPLY_RST
M_WINDOW_OPENED = 1 << MARK_WINDOW_OPENED
M_ICMP = 1 << MARK_ICMP
M_RST_DRAWN = 1 << MARK_RST_DRAWN
M_NAMES = 1 << SEGMENT_NAMES
M_BEGINS_STREAM = 1 << SEGMENT_BEGINS_STREAM

# --- the machine's numbers, for the kernels -------------------------------------------------------------------------
ST_CLOSED = int(State.CLOSED)
ST_LISTEN = int(State.LISTEN)
ST_SYN_SENT = int(State.SYN_SENT)
ST_SYN_RECEIVED = int(State.SYN_RECEIVED)
ST_ESTABLISHED = int(State.ESTABLISHED)
ST_FIN_WAIT_1 = int(State.FIN_WAIT_1)
ST_FIN_WAIT_2 = int(State.FIN_WAIT_2)
ST_CLOSE_WAIT = int(State.CLOSE_WAIT)
ST_CLOSING = int(State.CLOSING)
ST_LAST_ACK = int(State.LAST_ACK)
ST_TIME_WAIT = int(State.TIME_WAIT)
ST_UNKNOWN = int(State.UNKNOWN)
STATES = len(State)
EV_OPEN_PASSIVE = int(Event.OPEN_PASSIVE)
EV_SND_SYN = int(Event.SND_SYN)
EV_SND_SYN_ACK = int(Event.SND_SYN_ACK)
EV_SND_FIN = int(Event.SND_FIN)
EV_SND_RST = int(Event.SND_RST)
EV_RCV_SYN = int(Event.RCV_SYN)
EV_RCV_SYN_ACK = int(Event.RCV_SYN_ACK)
EV_RCV_ACK_OF_SYN = int(Event.RCV_ACK_OF_SYN)
EV_RCV_FIN = int(Event.RCV_FIN)
EV_RCV_ACK_OF_FIN = int(Event.RCV_ACK_OF_FIN)
EV_RCV_FIN_ACK_OF_FIN = int(Event.RCV_FIN_ACK_OF_FIN)
EV_RCV_RST = int(Event.RCV_RST)
EV_USER_CLOSE = int(Event.USER_CLOSE)
EV_TIMEOUT_2MSL = int(Event.TIMEOUT_2MSL)
EV_TIMEOUT_FIN_WAIT_2 = int(Event.TIMEOUT_FIN_WAIT_2)
EV_TIMEOUT_RETRANSMISSION = int(Event.TIMEOUT_RETRANSMISSION)
EV_GONE = int(Event.GONE)
EV_REUSED = int(Event.REUSED)
EV_RCV_ACK_OF_UNSEEN_FIN = int(Event.RCV_ACK_OF_UNSEEN_FIN)
EVENTS = len(Event)
BASIS_SENT = int(Basis.SENT)
BASIS_ACKED = int(Basis.ACKED)
BASIS_PRESUMED = int(Basis.PRESUMED)
BASIS_TIMER = int(Basis.TIMER)
BASIS_INFERRED = int(Basis.INFERRED)
BASIS_LEARNED = int(Basis.LEARNED)
OPENED_ACTIVE = int(Opened.ACTIVE)
OPENED_PASSIVE = int(Opened.PASSIVE)
M_NOBODYS = M_CAPTURE_DUPLICATE | M_BAD_CHECKSUM | M_STRAY_SYN  # what was not sent as part of the connection

# --- facts: what the log of a connection shows, for the choice of rules (bit numbers) ---------------------------------
FACT_DATA_FIRST = 0  # the client sent data before the server's SYN+ACK, or there was none
FACT_CLOSE_AGAIN = 1  # one side sent several FINs, or a FIN or old data after its FIN was acknowledged
FACT_OLD_DATA = 2  # old data came after a FIN with an older timestamp, or to the next use of the four-tuple
FACT_FIN_ODD_ACK = 3  # a FIN acknowledges what was not seen, or what had long been acknowledged
FACT_RESET_AGAIN = 4  # one side sent several RSTs
FACT_SELF = 5  # both ends are one
FACTS = 6
ALL_FACTS = (1 << FACTS) - 1

# Classes of connections that are alike to the choice of rules.
KEY_USED = 0
KEY_MARKS = 1
KEY_FLAGS = 2
KEY_STATES = 3  # opening, closing and the states from bit 0 on, the facts from bit 32 on, then these bits:
KEY_SIZE = 4
KEY_REUSED = 48
KEY_TAKEN_OVER = 49
KEY_ACKNOWLEDGED = 50

# --- a logged segment, unpacked for rules -----------------------------------------------------------------------------
U_SIDE = 0
U_TIME = 1
U_FRAME = 2
U_FLAGS = 3
U_SEQ = 4
U_ACK = 5
U_LENGTH = 6
U_MARKS = 7
U_WINDOW = 8
U_TSVAL = 9
U_TSECR = 10
U_LAST_TIME = 11
U_LAST_FRAME = 12
U_RUN = 13
U_TTL = 14
U_IP_ID = 15
U_OPTIONS = 16
U_FATE = 17
U_CHECKSUM = 18
U_UNSENT = 19  # 1 where, of two captures, only that at its receiver has it
UNPACKED_SIZE = 20
