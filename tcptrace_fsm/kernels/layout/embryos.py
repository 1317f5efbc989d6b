"""Embryos: what is kept of a segment until anything else comes for its four-tuple; made by embryos."""

from __future__ import annotations

# --- embryo: a lone segment (made by embryos) ------------------------------------------------------------------------
# Several lie in the room of one row. The words that find, the sweep and past uses read stand where a row has them:
# C_NET to C_FLAGS (with CF_EMBRYO), C_LAST_TIME, C_LAST_FRAME, C_ID and C_STREAM. The sender stands as the client.
EM_HASH = 7  # of the four-tuple; in a free one the next free one, -1 for none
EM_NUMBERS = 10  # sequence number, and above it the window and the TCP flags
EM_OPTIONS = 12  # OPT_... bits, and above them MSS, window scale, TTL and CHECKSUM_...
EM_STAMP = 14  # TSval, and above it the IP identification plus one
EM_LIVING = 15  # place in the list of live rows
EM_OVER = 16  # the moment as of which it is judged, ns; -1 while it lives
EM_COMPLETENESS = 17  # as C_COMPLETENESS
EM_ECHO = 18  # TSecr
EM_ACK = 19  # acknowledgment number, and above it the payload bytes
EMBRYO_SIZE = 20
EM_WINDOW_SHIFT = 32
EM_FLAGS_SHIFT = 48
EM_MSS_SHIFT = 16
EM_SCALE_SHIFT = 32
EM_TTL_SHIFT = 40
EM_CHECKSUM_SHIFT = 48
EM_IP_ID_SHIFT = 32
EM_LEN_SHIFT = 32
EM_LEN_MOST = 1 << 30
