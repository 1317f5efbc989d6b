"""The tracker: its control words, and what it remembers of past uses of four-tuples."""

from __future__ import annotations

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
K_SET_BACK = 28  # first frame behind it when the clock was last set back, 0 for none
K_WAITS = 29  # next free word of the waits
K_HELD = 30  # segments whose time was too far from their connection's first
K_EMBRYOS = 31  # 1 where lone segments are kept as embryos
K_EMBRYO_FREE = 32  # first free one, -1 for none
K_LEAPT = 33  # 1 once the clock has leapt by a day or more
K_BEHIND_SINCE = 34  # frame of the first of those that K_BEHIND counts
K_SET_BACKS = 35  # how many times are kept at which the clock was set back
K_SET_BACK_AT = 36  # the first frame of each that was behind it, in order
K_SET_BACK_FROM = 44  # what it had shown, ns: less and less, for an earlier one of no more than a later says nothing
CONTROL_SIZE = 52  # behind it is room for a segment, which an embryo is made from

CLOCK_SLACK = 60000  # ms that a segment may be behind the clock
CLOCK_PROOF = 8  # segments in a row that are further behind, and the clock was set back
SET_BACKS_MOST = 8
DAY = 86400000  # ms that the clock leaps, forward or back, between two captures: the books of the first are closed

# Past uses of four-tuples: each entry begins with the words C_NET to C_SERVER_HI of the row that it remembers.
P_HASH = 6
P_USE = 7  # (conn_id << PAST_SHIFT | incarnation) + 1; 0: free
PAST_SIZE = 8
PAST_SHIFT = 20
PAST_MOST = 1 << 19  # a use is remembered until as many other connections have begun
