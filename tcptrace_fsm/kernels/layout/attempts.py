"""Attempts: what surveys of scans and floods count, by who made them or by whom they were made to."""

from __future__ import annotations

# --- attempt: a connection that came to nothing (made by grouping, strays) -------------------------------------------
A_KEY = 0  # four words: 1 for IPv6, the address, and of a listener the port, else 0
A_MEMBER = 4  # the same of the other end
A_PEER = 3  # of a probe that is counted by both hosts: the other one, and its port
A_ID = 8  # conn_id
A_FRAME = 9  # its first
A_FIRST = 10  # ns, first segment
A_LAST = 11  # ns, last segment
A_OPENING = 12  # OPENING_...
A_PORT = 12  # of a probe: its sender's port
A_OPTIONS = 13  # OPT_... of the client's SYN
A_SIDE = 13  # of a probe: who sent it
A_ANSWERED = 14  # 1 if the server sent anything; of a probe: an RST
ATTEMPT_SIZE = 15

# --- order (grouping) ------------------------------------------------------------------------------------------------
ORDER_FEW = 48  # fewer records than that are put in order by merging, more by their bytes
