"""The words of segments: the label that a segment's marks give it, and the letters of Zeek's history."""

from __future__ import annotations

from tcptrace_fsm.kernels import layout

__all__ = ["BROKEN", "HISTORY_LETTERS", "LABELS", "history"]

HISTORY_LETTERS = "SHADFRCGTWIQXshadfrcgtwiqx^"
"""Letters of Zeek's history: code 1 is the first, 0 is none. Upper case is the client's."""

LABELS: tuple[tuple[int, str], ...] = (
    (layout.MARK_CAPTURE_DUPLICATE, "capture_duplicate"),
    (layout.MARK_NETWORK_DUPLICATE, "network_duplicate"),
    (layout.MARK_KEEPALIVE, "keepalive"),
    (layout.MARK_KEEPALIVE_ACK, "keepalive_ack"),
    (layout.MARK_ZERO_WINDOW_PROBE, "zero_window_probe"),
    (layout.MARK_ZERO_WINDOW_PROBE_ACK, "zero_window_probe_ack"),
    (layout.MARK_SYN_AGAIN, "syn_retransmission"),
    (layout.MARK_SYN_ACK_AGAIN, "syn_ack_retransmission"),
    (layout.MARK_FIN_AGAIN, "fin_retransmission"),
    (layout.MARK_SPURIOUS, "spurious_retransmission"),
    (layout.MARK_TAIL_LOSS_PROBE, "tail_loss_probe"),
    (layout.MARK_FAST, "fast_retransmission"),
    (layout.MARK_OUT_OF_ORDER, "out_of_order"),
    (layout.MARK_RETRANSMISSION, "retransmission"),
    (layout.MARK_TIMEOUT, "retransmission"),
    (layout.MARK_LOST_BEFORE, "retransmission"),
    (layout.MARK_DUPLICATE_ACK, "duplicate_ack"),
    (layout.MARK_ZERO_WINDOW, "zero_window"),
    (layout.MARK_WINDOW_UPDATE, "window_update"),
    (layout.MARK_WINDOW_FULL, "window_full"),
    (layout.MARK_GAP, "previous_segment_unseen"),
    (layout.MARK_ACK_UNSEEN, "ack_of_unseen_segment"),
)
"""The label of a segment is that of its first mark in this order: the more specific come first."""
BROKEN = "broken_header"
"""The label of what has a TCP header that contradicts itself, or that the capture cuts off."""


def history(words: tuple[int, int, int], length: int) -> str:
    """Unpack Zeek's history letters: 6 bits each, lowest first, ten to a word."""
    codes = (words[i // 10] >> 6 * (i % 10) & 63 for i in range(min(length, 30)))
    return "".join(HISTORY_LETTERS[code - 1] for code in codes if 1 <= code <= len(HISTORY_LETTERS))
