"""Segments: one TCP segment each, made by decode."""

from __future__ import annotations

from tcptrace_fsm.tcp import flags

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
S_SIDE = 34  # CLIENT or SERVER, the sender; set by track. In a share before that: where the clock leapt from, or 0
S_MARKS = 35  # M_... bits, set by track; before that the timeline's clock before it, ns, where others know it; else 0
S_FATE = 36  # FATE_..., set by pair where there are two capture points
S_ARRIVAL = 37  # ns, when all of it was at the other point, where FATE_ARRIVED or FATE_PARTLY
S_ARRIVAL_FRAME = 38  # its (last) frame there
S_LOST = 39  # payload bytes that did not get there
SEGMENT_SIZE = 40

# Before the TCP header is read, in words that are filled then: what the IP layer says of it.
IP_ROOM = S_SHOWN  # for how many bytes, from the TCP header on, the frame has room on the wire
IP_DOUBTS = S_CHECKSUM  # DOUBT_ROUTED, DOUBT_PART

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
TCP_CLOCK = 8192  # no segment at all: one of a connection that others follow has moved the clock

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
OPT_SCALE_EARLY = 16384  # the window scale stands before SACK-permitted and timestamps, or without them
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
