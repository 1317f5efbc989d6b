"""The records that the kernels share: which word of a record holds what.

A record is a run of ``int64`` words in a flat array; ``frames[f + F_TIME]`` is the time of the frame whose record
begins at word ``f``. Sizes are in words. At build time ``setup.py`` turns these names into a C enum, so this file is
the only place that numbers them.

Times are nanoseconds since 1970 UTC. ``-1`` means "not present" where a field says so.
"""

from __future__ import annotations

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
OUTCOMES = 11  # how many there are

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
S_FLAGS = 10  # TCP_FIN ... TCP_AE
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
S_URGENT = 30  # urgent pointer field
S_OFFSET = 31  # first byte of the TCP header in the chunk; -1 where it lies in no chunk (slow path)
S_CAPTURED = 32  # payload bytes captured
S_CONNECTION = 33  # conn_id, set by track
S_SIDE = 34  # CLIENT or SERVER, the sender; set by track
S_MARKS = 35  # M_... bits, set by track
SEGMENT_SIZE = 36

# TCP header flags, as on the wire; AE is bit 0 of the byte before (RFC 9293 3.1, RFC 9768).
TCP_FIN = 1
TCP_SYN = 2
TCP_RST = 4
TCP_PSH = 8
TCP_ACK = 16
TCP_URG = 32
TCP_ECE = 64
TCP_CWR = 128
TCP_AE = 256

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

CHECKSUM_UNKNOWN = 0  # not all of the segment was captured, or it was too long to be worth it
CHECKSUM_GOOD = 1
CHECKSUM_OFFLOADED = 2  # only the pseudo-header is summed: the network card was to do the rest
CHECKSUM_BAD = 3

CLIENT = 0
SERVER = 1
