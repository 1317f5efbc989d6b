"""The log: the segments, and ICMP errors, of a connection that the replay and the rules may need; made by track."""

from __future__ import annotations

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
LOOKED_AT = 32  # records that a look around one takes in, so that many of them do not cost the square
LOG_BLOCK = 32  # words: a connection takes and returns two records at a time, which lie side by side

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

# --- facts: what the log of a connection shows, for the choice of rules (bit numbers) ---------------------------------
FACT_DATA_FIRST = 0  # the client sent data before the server's SYN+ACK, or there was none
FACT_CLOSE_AGAIN = 1  # one side sent several FINs, or a FIN or old data after its FIN was acknowledged
FACT_OLD_DATA = 2  # old data came after a FIN with an older timestamp, or to the next use of the four-tuple
FACT_FIN_ODD_ACK = 3  # a FIN acknowledges what was not seen, or what had long been acknowledged
FACT_RESET_AGAIN = 4  # one side sent several RSTs
FACT_SELF = 5  # both ends are one
FACT_RESET_SILENT = 6  # one side sent an RST before it had said anything but SYNs and RSTs
FACT_RESET_REPLY = 7  # an RST answers a segment of no connection: it has no ACK, or MARK_REPLY_RST
FACT_RESET_AFTER_FIN = 8  # one side sent an RST after its own FIN
FACT_RESET_ODD_ACK = 9  # an RST acknowledges more than was sent, or nothing of it
FACT_GONE = 10  # one side was found gone
FACT_GONE_IN_FIN_WAIT_2 = 11  # ... or its timer had run out, in FIN_WAIT_2
FACT_TIME_WAIT = 12  # one side was in TIME_WAIT
FACT_CLOSED_SECOND = 13  # one side sent its FIN in CLOSE_WAIT
FACT_LAST_ACK_INFERRED = 14  # that the last FIN was acknowledged is inferred
FACT_BOTH_DIRECTIONS = 15  # segments of both sides were seen
FACT_BOTH_SYNS = 16  # where both sides began was seen
FACT_SYN_ACK = 17  # one side sent a SYN+ACK
FACT_PURE_ACK = 18  # one side sent an ACK and nothing else
FACT_RESET_FIRST = 19  # the first segment is an RST
FACT_RESET_WITH_DATA = 20  # an RST carries payload
FACT_ABORTED_OPEN = 21  # one side, open, sent an RST or was found gone
FACT_ESTABLISHED = 22  # one side was ESTABLISHED
FACT_ENDING = 23  # one side was between ESTABLISHED and its end: FIN_WAIT_1, FIN_WAIT_2, CLOSE_WAIT, CLOSING, LAST_ACK
FACT_ROLES_REVERSED = 24  # the server opened the next connection, and that was accepted
FACT_MUCH_UNACKED = 25  # one side sent MUCH_UNACKED bytes more than were acknowledged
FACT_SYN_AND_FIN = 26  # one side sent a SYN, and a FIN without ACK
FACTS = 27
ALL_FACTS = (1 << FACTS) - 1

# Classes of connections that are alike to the choice of rules.
KEY_USED = 0
KEY_MARKS = 1
KEY_FLAGS = 2
KEY_STATES = 3  # opening, closing and the states from bit 0 on, the facts from bit 32 on, then these bits:
KEY_SIZE = 4
KEY_REUSED = 60
KEY_TAKEN_OVER = 61
KEY_ACKNOWLEDGED = 62

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
