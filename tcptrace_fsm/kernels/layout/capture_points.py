"""Two capture points: what passed between them, and what waits for its counterpart; made by pair."""

from __future__ import annotations

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
