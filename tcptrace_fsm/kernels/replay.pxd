from tcptrace_fsm.kernels.layout cimport *
from tcptrace_fsm.kernels.memory cimport pointer, prefetch
from tcptrace_fsm.kernels.sequence cimport bit, newer
from tcptrace_fsm.kernels.table cimport next_block

cdef long long gather(long long c, long long* rows, long long* log, long long* work) noexcept nogil
cdef long long gather_at(long long c, long long side, long long* rows, long long* log, long long* work) noexcept nogil
cdef long long next_of(long long side, long long w, long long n, long long* work) noexcept nogil
cdef long long own_after(long long w, long long side, long long n, long long* scratch, long long* work) noexcept nogil
cdef long long is_real(long long w, long long* work) noexcept nogil
cdef long long is_taken(long long w, long long* scratch, long long* work) noexcept nogil
cdef long long is_reply_rst(long long w, long long* work) noexcept nogil
cdef long long step(long long event, long long time, long long earliest, long long latest, long long frame, long long basis, long long confirmed, long long side, long long ident, long long* table, long long* out, long long* scratch) noexcept nogil
cdef long long sent(long long event, long long w, long long earliest, long long side, long long ident, long long* table, long long* out, long long* scratch, long long* work) noexcept nogil
cdef long long received(long long event, long long w, long long proof, long long side, long long ident, long long* table, long long* out, long long* scratch, long long* work) noexcept nogil
cdef long long inferred(long long event, long long w, long long earliest, long long side, long long ident, long long* table, long long* out, long long* scratch, long long* work) noexcept nogil
cdef long long survey(long long c, long long side, long long n, long long* rows, long long* work, long long* scratch) noexcept nogil
cdef long long arrives_after(long long w, long long moment, long long* scratch, long long* work) noexcept nogil
cdef long long arrived(long long w, long long repeated, long long gap, long long* scratch, long long* work) noexcept nogil
cdef long long too_soon(long long w, long long proof, long long* scratch, long long* work) noexcept nogil
cdef long long find_syn_copy(long long side, long long n, long long* scratch, long long* work) noexcept nogil
cdef long long find_syn_ack_copy(long long side, long long n, long long* scratch, long long* work) noexcept nogil
cdef long long find_fin_copy(long long side, long long n, long long* scratch, long long* work) noexcept nogil
cdef long long find_filling(long long copy, long long proof, long long side, long long n, long long* scratch, long long* work) noexcept nogil
cdef long long find_unseen_fin(long long sender, long long n, long long c, long long* rows, long long* work) noexcept nogil
cdef long long open_inside(long long w, long long c, long long side, long long* rows, long long* table, long long* out, long long* scratch, long long* work) noexcept nogil
cdef long long fin_earliest(long long w, long long x, long long* rows, long long* scratch, long long* work) noexcept nogil
cdef long long own_fin(long long w, long long c, long long side, long long ident, long long* rows, long long* table, long long* out, long long* scratch, long long* work) noexcept nogil
cdef long long hidden_fin(long long w, long long side, long long ident, long long* table, long long* out, long long* scratch, long long* work) noexcept nogil
cdef long long turns_away(long long w, long long* scratch, long long* work) noexcept nogil
cdef long long own_segment(long long w, long long c, long long side, long long* rows, long long* timers, long long* table, long long* out, long long* scratch, long long* work) noexcept nogil
cdef long long answered_by_rst(long long w, long long side, long long n, long long* scratch, long long* work) noexcept nogil
cdef long long met_nobody(long long w, long long side, long long n, long long* scratch, long long* work) noexcept nogil
cdef long long of_unsent(long long w, long long side, long long n, long long* scratch, long long* work) noexcept nogil
cdef long long opens(long long w, long long c, long long* rows, long long* scratch, long long* work) noexcept nogil
cdef long long challenged(long long w, long long side, long long n, long long* scratch, long long* work) noexcept nogil
cdef long long shows_no_mercy(long long w, long long side, long long n, long long* scratch, long long* work) noexcept nogil
cdef long long takes_rst(long long w, long long c, long long side, long long n, long long* rows, long long* scratch, long long* work) noexcept nogil
cdef long long ack_went_before(long long w, long long c, long long side, long long n, long long* rows, long long* scratch, long long* work) noexcept nogil
cdef long long peer_segment(long long w, long long c, long long side, long long n, long long* rows, long long* table, long long* out, long long* scratch, long long* work) noexcept nogil
cdef long long repeats(long long i, long long* scratch, long long* work) noexcept nogil
cdef long long own_first(long long i, long long j, long long* scratch, long long* work) noexcept nogil
cdef long long run_2msl(long long t, long long side, long long ident, long long* timers, long long* table, long long* out, long long* scratch) noexcept nogil
cdef long long give_up(long long last, long long gap, long long side, long long ident, long long* table, long long* out, long long* scratch) noexcept nogil
cdef long long taken_over(long long c, long long side, long long* rows) noexcept nogil
cdef long long run_out(long long c, long long side, long long* rows, long long* timers, long long* table, long long* out, long long* scratch) noexcept nogil
cdef long long replay_side(long long c, long long side, long long host, long long n, long long now, long long* rows, long long* timers, long long* table, long long* out, long long* scratch, long long* work) noexcept nogil
cdef long long who(long long side) noexcept nogil
cdef long long conclude(long long c, long long first, long long last, long long saw_client, long long saw_server, long long* rows, long long* out) noexcept nogil
cdef long long first_hop(long long ttl) noexcept nogil
cdef long long locate(long long c, long long* rows) noexcept nogil
cdef long long final_state(long long x, long long* rows, long long* scratch) noexcept nogil
cdef long long replay(long long c, long long client_host, long long server_host, long long now, long long* rows, long long* log, long long* timers, long long* table, long long* out, long long* scratch, long long* work) noexcept nogil
cpdef long long replay_due(long long start, long long count, long long room, long long[::1] due_words, long long[::1] rows_words, long long[::1] log_words, long long[::1] timers_words, long long[::1] hosts_words, long long[::1] table_words, long long[::1] out_words, long long[::1] scratch_words, long long[::1] work_words) noexcept nogil
cpdef long long collect(long long start, long long end, long long[::1] due_words, long long[::1] rows_words, long long[::1] block_words) noexcept nogil
cpdef long long interesting(long long count, long long boring, long long[::1] block_words, long long[::1] chosen_words) noexcept nogil
