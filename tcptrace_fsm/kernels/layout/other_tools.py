"""What Zeek and Wireshark would say of a connection: Zeek's history and states, Wireshark's streams."""

from __future__ import annotations

HISTORY_PER_WORD = 10  # letters of C_HISTORY to a word, 6 bits each
HISTORY_MOST = 30
HISTORY_FLIPPED = 27  # the letter ^: the originator is not the sender of the first segment
HISTORY_S = 0  # the other letters, as many as are written by the kernels; labels.HISTORY_LETTERS has them all
HISTORY_H = 1
HISTORY_A = 2
HISTORY_D = 3
HISTORY_F = 4
HISTORY_R = 5
HISTORY_C = 6
HISTORY_G = 7
HISTORY_T = 8
HISTORY_W = 9
HISTORY_I = 10
HISTORY_Q = 11

# C_ZEEK
Z_STARTED = 1
Z_FLIPPED = 2  # Zeek's originator is our server
Z_GONE = 4  # Zeek has dropped the connection: what comes now belongs to another one of Zeek's
Z_RSTOS0 = 8  # its originator sent a SYN, then an RST, and nothing that counts between
Z_SPOILED = 16  # ... something that does
Z_SETTLED = 32  # one endpoint is past the handshake
Z_ATTEMPT = 64  # C_ZEEK_GONE holds only while the SYN is unanswered
Z_PARTIAL = 128  # begun without a SYN
Z_EMPTY = 256  # reset by both ends, without any data
Z_CLOSED_CLIENT = 512
Z_CLOSED_SERVER = 1024
Z_STATE_SHIFT = 11  # 3 bits for the client, 3 for the server
Z_BEFORE_SHIFT = 17  # the states before those
Z_STATES = 129024  # the bits of the two states
Z_BOTH_ESTABLISHED = 73728  # both of them established
Z_INACTIVE = 0  # TCP_ENDPOINT_...
Z_SYN_SENT = 1
Z_SYN_ACK_SENT = 2
Z_PARTIAL_STATE = 3
Z_ESTABLISHED = 4
Z_CLOSED = 5
Z_RESET = 6
ZEEK_TOO_FAR = 1048576  # bytes; TOO_LARGE_SEQ_DELTA
ZEEK_NEAR = 1073741824  # bytes; below it 32-bit numbers need no thought of wrapping

# One endpoint as Zeek has it: word C_ZEEK_ENDS + side * ZE_SIZE + ZE_...
ZE_START = 0  # 32-bit sequence number of its SYN
ZE_LAST = 1  # one past the highest that it has sent, 32 bits, counted from there
ZE_ACK = 2  # ... that was acknowledged
ZE_REACHED = 3  # up to where holes were reported, relative as in E_NEXT
ZE_COUNTS = 4  # four counts of 15 bits: what Zeek tells the first, tenth, hundredth ... time
ZE_NUMBERS = 5  # lower 31 bits of where its last FIN ended and, above, its last RST lay
ZE_SIZE = 6
ZE_CHECKSUMS = 0
ZE_AGAIN = 15
ZE_WINDOWS = 30
ZE_GAPS = 45

# Wireshark's streams: a table of its own.
W_NUMBER = 0  # tcp.stream
W_LOW_BASE = 1  # what Wireshark takes for the ISN of the smaller end and of the larger; -1 for none
W_HIGH_BASE = 2
W_BITS = 3  # tcp.completeness, W_MET, W_BASES, then what more its first segment shows to who reads the capture twice
STREAM_SIZE = 4
W_MET = 64  # a segment of it was seen
W_BASES = 128  # both bases are known
W_FIRST_SHIFT = 8
COMPLETE_SYN = 1
COMPLETE_SYN_ACK = 2
COMPLETE_ACK = 4
COMPLETE_DATA = 8
COMPLETE_FIN = 16
COMPLETE_RST = 32
COMPLETE_WHOLE_SHIFT = 8  # ... of all its segments, in a row's word
COMPLETE_CALM = 16384  # a row's segments come to its stream alone, and one like those before changes nothing there
