"""What most segments change of the joins with other tools: next to nothing.

These few lines become part of the loop over segments; :mod:`.joins` is called for the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tcptrace_fsm.kernels.layout import *
from tcptrace_fsm.kernels.memory import *
from tcptrace_fsm.kernels.sequence import *

if TYPE_CHECKING:
    from tcptrace_fsm.kernels import Words

# No __all__: only other kernels call these.


def plain_to_wireshark(c: int, s: int, segments: Words, rows: Words, control: Words) -> int:
    """Number the stream of a segment like those before it in its connection. Returns 1 if it is one, else 0."""
    completeness = rows[c + C_COMPLETENESS]
    stream = rows[c + C_STREAM_NOW]
    if (
        not completeness & COMPLETE_CALM
        or stream != rows[c + C_STREAM]
        or segments[s + S_FLAGS] & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK) != TCP_ACK
        or not completeness & (COMPLETE_DATA if segments[s + S_SHOWN] > 0 else COMPLETE_ACK)
        or control[K_MIXED]
        or segments[s + S_NET] >> 1
        or rows[c + C_OLDER] >= 0
        or rows[c + C_NEWER] >= 0
        or stream <= control[K_NEXT_STREAM] - control[K_STREAM_MOST]
    ):
        return 0
    segments[s + S_STREAM] = stream << STREAM_SHIFT | (completeness & 63)
    return 1


def plain_to_zeek(c: int, side: int, s: int, segments: Words, rows: Words) -> int:
    """Take a segment of an established connection that changes little for Zeek. Returns 1 if it is one, else 0."""
    x = c + C_ENDPOINTS + side * ENDPOINT_SIZE
    y = c + C_ENDPOINTS + (1 - side) * ENDPOINT_SIZE
    e = c + C_ZEEK_ENDS + side * ZE_SIZE
    p = c + C_ZEEK_ENDS + (1 - side) * ZE_SIZE
    length = segments[s + S_LEN]
    end = low32(segments[s + S_SEQ] - rows[e + ZE_START] + length)
    ack = low32(segments[s + S_ACK] - rows[p + ZE_START])
    if (
        rows[c + C_ZEEK] & Z_STATES != Z_BOTH_ESTABLISHED
        or rows[c + C_ZEEK] & Z_GONE
        or segments[s + S_FLAGS] & (TCP_SYN | TCP_FIN | TCP_RST | TCP_ACK) != TCP_ACK
        or not segments[s + S_WINDOW]
        or (length and end <= rows[e + ZE_LAST])
        or (end | ack | rows[e + ZE_LAST] | rows[p + ZE_ACK]) >= ZEEK_NEAR
        or not segments[s + S_ACK]
        or rows[y + E_HOLES]
        or rows[c + C_ZEEK_GONE] >= 0
        or segments[s + S_TIME] - rows[c + C_ZEEK_TIME] >= 60000 * MILLISECOND
        or (segments[s + S_CHECKSUM] == CHECKSUM_BAD and rows[x + E_CHECKSUMS] & 1)
        or not rows[x + E_STAGE] & (ES_TOLD << HISTORY_D if length else ES_TOLD << HISTORY_A)
    ):
        return 0
    rows[c + C_ZEEK_TIME] = segments[s + S_TIME]
    if end > rows[e + ZE_LAST]:
        rows[e + ZE_LAST] = end
    if ack > rows[p + ZE_ACK]:
        rows[p + ZE_ACK] = ack
    if rows[x + E_LAST_ACK] > rows[p + ZE_REACHED]:
        rows[p + ZE_REACHED] = rows[x + E_LAST_ACK]
    return 1
