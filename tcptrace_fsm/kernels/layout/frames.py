"""Frames: one captured link-layer record each, made by walk."""

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
OUTCOME_TOO_DEEP = 11  # more layers than anybody means
OUTCOME_FILTERED = 12  # not looked at, by the user's wish: F_LINK is -1 - LINKTYPE_ number
OUTCOME_ENCRYPTED = 13  # as OUTCOME_NOT_TCP, but for what nobody can tell: IPsec's ESP
OUTCOMES = 14  # how many there are

# What the walk needs and what it answers: one row of control words.
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
WALK_HELD = 20  # pcapng: times that lay outside 0 ... 2**62 ns
WALK_STRAY = 21  # frames stamped a day or more away from those before and after them, which agree
WALK_BEFORE = 22  # of the frames before, settled: time of the last, least and greatest time, ns plus 1 each; 0: none
WALK_LEAST = 23
WALK_GREATEST = 24
WALK_UNSTAMPED = 25  # pcapng: 1 where the packet block at hand has no time of its own
WALK_HELD_BEFORE = 26  # pcapng: WALK_HELD before it
WALK_SIZE = 27

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
