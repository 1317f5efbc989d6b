"""What a kernel detects of the kinds of findings that are most frequent, for Python to word; made by detect."""

from __future__ import annotations

# Kinds, as bits of what is asked of a connection.
DETECT_SPURIOUS = 1
DETECT_LAST_ACK_LOST = 2
DETECT_NO_RESPONSE = 4
DETECT_ISN_CHANGED = 8
DETECT_REFUSED = 16
DETECT_UNSOLICITED = 32
DETECT_STRAY_FIN = 64
DETECT_STRAY_RST = 128
DETECT_SYN_FIN = 256
DETECT_SYN_RST = 512
DETECT_SYN_URG = 1024
DETECT_FIN_BARE = 2048
DETECT_ABORT = 4096
DETECT_UNREAD = 8192
DETECT_LINGER = 16384
DETECT_RST_FOR_FIN = 32768
DETECT_ABORTS = DETECT_ABORT | DETECT_UNREAD | DETECT_LINGER | DETECT_RST_FOR_FIN

# --- detected: one finding -------------------------------------------------------------------------------------------
D_ASKED = 0  # which of the connections that were asked about
D_KIND = 1  # DETECT_...
D_SIDE = 2
D_TIME = 3  # of what shows it
D_FRAME = 4
D_COUNT = 5  # how many segments; of DETECT_ABORTS bytes: that were lost, or unread
# D_MORE: DETECT_SPURIOUS: how many reports of duplicates; DETECT_LAST_ACK_LOST: DL_... bits; of strays: if reset; of
# SYNs with odd flags: what they drew: 0: nothing, 1: RST, 2: an answer
D_MORE = 6
D_SPAN = 7  # ns from the first of them to the last
D_FRAMES = 8  # how many frames of evidence it has in the list of frames
D_GRADE = 9  # what its severity depends on: GRADE_... bits; DETECT_SPURIOUS: the smaller of D_COUNT and D_MORE, to 15
D_DOUBT = 10  # DOUBT_... bits: what may be wrong with the capture
D_ID = 11  # C_ID
D_NET = 12  # from here on, as they follow each other in the connection's record: C_NET to C_SERVER_HI
D_PORTS = 13
D_CLIENT_LO = 14
D_SERVER_LO = 15
D_CLIENT_HI = 16
D_SERVER_HI = 17
D_TAKEN_FRAME = 18  # C_TAKEN_FRAME
DETECTED_SIZE = 19

# D_GRADE
GRADE_AGAIN = 1  # it was sent more than once
GRADE_LATE = 2  # three seconds or more
GRADE_BAD_SUMS = 4  # the client's checksums are wrong, all of them
GRADE_UNSURE = 8  # the client may have given up, or met a connection of before
GRADE_RESET = 16  # answered with RST
GRADE_LOW = 32  # it harms nobody, or the capture lacks too much

# D_DOUBT
DOUBT_COPIED = 1
DOUBT_UNSEEN = 2
DOUBT_ONE_WAY = 4
DOUBT_ORDER = 8
DOUBT_LOG_FULL = 16
DOUBT_TIME = 32  # its times are known to be wrong
DOUBT_CLOCKS = 64  # both ends' timestamps may tell that its times are wrong

LONGEST_SPAN = 366 * 86400  # s: no connection that a capture shows has waited for longer

# D_MORE of DETECT_LAST_ACK_LOST
DL_PASSED = 1  # the ACK had passed the capture point before the repetition did
DL_FIN = 2  # the repetition is the FIN's
