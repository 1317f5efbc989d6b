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

# --- detected: one finding -------------------------------------------------------------------------------------------
D_ASKED = 0  # which of the connections that were asked about
D_KIND = 1  # DETECT_...
D_SIDE = 2
D_TIME = 3  # of what shows it
D_FRAME = 4
D_COUNT = 5  # how many segments
D_MORE = 6  # DETECT_SPURIOUS: how many reports of duplicates; DETECT_LAST_ACK_LOST: DL_... bits; of strays: if reset
D_SPAN = 7  # ns from the first of them to the last
D_FRAMES = 8  # how many frames of evidence it has in the list of frames
DETECTED_SIZE = 9

# D_MORE of DETECT_LAST_ACK_LOST
DL_PASSED = 1  # the ACK had passed the capture point before the repetition did
DL_FIN = 2  # the repetition is the FIN's
