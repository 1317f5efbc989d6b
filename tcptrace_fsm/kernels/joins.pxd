from tcptrace_fsm.kernels.layout cimport *
from tcptrace_fsm.kernels.sequence cimport bit, low32
from tcptrace_fsm.kernels.table cimport hash_plain

cdef long long hash_for_streams(long long c, long long s, long long* segments, long long* rows, long long* control) noexcept nogil
cdef long long find_stream(long long h, long long* streams, long long* known, long long* control) noexcept nogil
cdef long long renumber_stream(long long h, long long stream, long long* known, long long* control) noexcept nogil
cdef long long open_stream(long long completeness, long long* streams, long long* control) noexcept nogil
cdef long long is_high(long long* segments, long long s) noexcept nogil
cdef long long enter_stream(long long stream, long long h, long long s, long long* segments, long long* streams, long long* known, long long* control) noexcept nogil
cdef long long complete_stream(long long stream, long long s, long long* segments, long long* streams, long long* control) noexcept nogil
cdef long long join_broken(long long s, long long* segments, long long* streams, long long* known, long long* control) noexcept nogil
cdef long long join_wireshark(long long c, long long s, long long* segments, long long* rows, long long* streams, long long* known, long long* control) noexcept nogil
cdef long long gap32(long long a, long long b) noexcept nogil
cdef long long likely_server(long long port) noexcept nogil
cdef long long write_letter(long long c, long long code, long long* rows) noexcept nogil
cdef long long zeek_letter(long long c, long long side, long long letter, long long* rows) noexcept nogil
cdef long long zeek_once(long long c, long long side, long long letter, long long* rows) noexcept nogil
cdef long long zeek_scaled(long long c, long long side, long long letter, long long shift, long long* rows) noexcept nogil
cdef long long zeek_state(long long c, long long side, long long* rows) noexcept nogil
cdef long long zeek_before(long long c, long long side, long long* rows) noexcept nogil
cdef long long zeek_enter(long long c, long long side, long long state, long long* rows) noexcept nogil
cdef long long zeek_size(long long c, long long side, long long* rows) noexcept nogil
cdef long long zeek_is_gone(long long c, long long s, long long* segments, long long* rows) noexcept nogil
cdef long long zeek_begin(long long c, long long side, long long s, long long* segments, long long* rows) noexcept nogil
cdef long long zeek_endpoint(long long c, long long side, long long s, long long* segments, long long* rows) noexcept nogil
cdef long long zeek_history(long long c, long long side, long long s, long long* segments, long long* rows) noexcept nogil
cdef long long zeek_numbers(long long c, long long side, long long s, long long* segments, long long* rows) noexcept nogil
cdef long long zeek_first(long long c, long long side, long long s, long long* segments, long long* rows) noexcept nogil
cdef long long zeek_move(long long c, long long side, long long s, long long* segments, long long* rows) noexcept nogil
cdef long long zeek_close(long long c, long long side, long long* rows) noexcept nogil
cdef long long zeek_gaps(long long c, long long side, long long* rows) noexcept nogil
cdef long long zeek_clean(long long c, long long side, long long* rows) noexcept nogil
cdef long long join_zeek(long long c, long long side, long long s, long long* segments, long long* rows) noexcept nogil
