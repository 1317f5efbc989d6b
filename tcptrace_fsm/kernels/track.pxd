from tcptrace_fsm.kernels.joins cimport join_broken, join_wireshark, join_zeek, zeek_is_gone
from tcptrace_fsm.kernels.layout cimport *
from tcptrace_fsm.kernels.memory cimport pointer, prefetch
from tcptrace_fsm.kernels.plain cimport plain_to_wireshark, plain_to_zeek
from tcptrace_fsm.kernels.sequence cimport bit, low32, newer, widen
from tcptrace_fsm.kernels.table cimport find, hash_of, is_client, next_block, recall, remember, remove, set_clock

cdef long long record_after(long long r, long long* log, long long* control) noexcept nogil
cdef long long free_icmp(long long e, long long* rows, long long* log, long long* control) noexcept nogil
cdef long long hand_icmp(long long e, long long to, long long* rows, long long* log, long long* control) noexcept nogil
cdef long long take_sacks(long long x, long long y, long long s, long long ack, long long* segments, long long* rows) noexcept nogil
cdef long long is_outstanding(long long c, long long side, long long s, long long* segments, long long* rows) noexcept nogil
cdef long long take_icmp(long long s, long long h, long long* segments, long long* slots, long long* rows, long long* log, long long* control) noexcept nogil
cdef long long log_segment(long long c, long long x, long long side, long long s, long long seq, long long ack, long long marks, long long* segments, long long* rows, long long* log, long long* control) noexcept nogil
cdef long long free_log(long long c, long long* rows, long long* log, long long* control) noexcept nogil
cdef long long extend_run(long long r, long long s, long long* segments, long long* log) noexcept nogil
cdef long long new_row(long long s, long long h, long long swap, long long* segments, long long* rows, long long* living, long long* control) noexcept nogil
cdef long long give_id(long long c, long long* rows, long long* control) noexcept nogil
cdef long long server_port_first(long long ports) noexcept nogil
cdef long long open_connection(long long s, long long h, long long* segments, long long* rows, long long* living, long long* control) noexcept nogil
cdef long long make_due(long long c, long long moment, long long* rows, long long* due, long long* control) noexcept nogil
cdef long long is_over(long long c, long long* rows) noexcept nogil
cdef long long fits(long long c, long long side, long long s, long long* segments, long long* rows) noexcept nogil
cdef long long new_incarnation(long long old, long long s, long long h, long long slot, long long* segments, long long* slots, long long* rows, long long* living, long long* due, long long* control) noexcept nogil
cdef long long confirm(long long c, long long* rows, long long* control) noexcept nogil
cdef long long discard(long long c, long long slot, long long* slots, long long* rows, long long* log, long long* living, long long* paths, long long* control) noexcept nogil
cdef long long unlearn(long long x, long long y, long long* rows) noexcept nogil
cdef long long route(long long newest, long long s, long long h, long long slot, long long* segments, long long* slots, long long* rows, long long* log, long long* living, long long* due, long long* paths, long long* control) noexcept nogil
cdef long long rtt_sample(long long e, long long value, long long* rows) noexcept nogil
cdef long long await_ack(long long e, long long end, long long now, long long* rows) noexcept nogil
cdef long long forget_samples(long long e, long long* rows) noexcept nogil
cdef long long take_samples(long long e, long long ack, long long now, long long* rows) noexcept nogil
cdef long long add_hole(long long e, long long start, long long end, long long* rows) noexcept nogil
cdef long long in_hole(long long e, long long at, long long* rows) noexcept nogil
cdef long long fill_holes(long long e, long long start, long long end, long long* rows) noexcept nogil
cdef long long scaled_window(long long x, long long y, long long s, long long* segments, long long* rows) noexcept nogil
cdef long long is_capture_duplicate(long long c, long long x, long long y, long long s, long long ack, long long* segments, long long* rows) noexcept nogil
cdef long long is_renumbered(long long c, long long x, long long side, long long s, long long* segments, long long* rows) noexcept nogil
cdef long long renumber(long long c, long long x, long long y, long long s, long long* segments, long long* rows, long long* log) noexcept nogil
cdef long long place(long long x, long long y, long long s, long long* segments, long long* rows) noexcept nogil
cdef long long is_bad_answer(long long y, long long s, long long* segments, long long* rows) noexcept nogil
cdef long long sent_before(long long x, long long y, long long seq, long long end, long long s, long long now, long long* segments, long long* rows) noexcept nogil
cdef long long is_ack_with_fin(long long x, long long y, long long s, long long seq, long long now, long long* segments, long long* rows) noexcept nogil
cdef long long take_sequence(long long c, long long x, long long y, long long side, long long s, long long seq, long long now, long long* segments, long long* rows) noexcept nogil
cdef long long take_ack(long long x, long long y, long long s, long long ack, long long now, long long overtaken, long long* segments, long long* rows) noexcept nogil
cdef long long take_rst(long long x, long long y, long long seq, long long* rows) noexcept nogil
cdef long long is_reply(long long x, long long y, long long s, long long* segments, long long* rows) noexcept nogil
cdef long long join_train(long long x, long long y, long long now, long long* rows) noexcept nogil
cdef long long be_last(long long c, long long x, long long s, long long ack, long long now, long long* segments, long long* rows) noexcept nogil
cdef long long predicted(long long c, long long side, long long s, long long* segments, long long* rows, long long* control) noexcept nogil
cdef long long plain_marks() noexcept nogil
cdef long long take_segment(long long c, long long side, long long s, long long* segments, long long* rows, long long* log, long long* control) noexcept nogil
cdef long long path_of(long long c, long long* rows, long long* paths, long long* control) noexcept nogil
cdef long long free_path(long long c, long long* rows, long long* paths, long long* control) noexcept nogil
cdef long long was_gone(long long w, long long seq, long long end, long long arrived, long long* paths) noexcept nogil
cdef long long take_path(long long c, long long side, long long s, long long marks, long long* segments, long long* rows, long long* paths, long long* control) noexcept nogil
cpdef long long end_paths(long long count, long long[::1] due_words, long long[::1] rows_words, long long[::1] paths_words) noexcept nogil
cpdef long long collect_paths(long long count, long long start, long long[::1] due_words, long long[::1] rows_words, long long[::1] paths_words, long long[::1] out) noexcept nogil
cpdef long long track(long long[::1] segments_words, long long count, long long[::1] slots_words, long long[::1] past_words, long long[::1] rows_words, long long[::1] log_words, long long[::1] living_words, long long[::1] due_words, long long[::1] streams_words, long long[::1] known_words, long long[::1] paths_words, long long[::1] control_words) noexcept nogil
cdef long long complete_rows(long long s, long long h, long long told, long long* segments, long long* slots, long long* rows, long long* control) noexcept nogil
cdef long long follow(long long c, long long use, long long* rows, long long* control) noexcept nogil
cdef long long is_spent(long long c, long long* rows, long long* control) noexcept nogil
cdef long long is_open(long long c, long long* rows) noexcept nogil
cpdef long long expire(long long budget, long long[::1] rows_words, long long[::1] living_words, long long[::1] due_words, long long[::1] control_words) noexcept nogil
cdef long long name_pending(long long* rows, long long* living, long long* due, long long* control) noexcept nogil
cpdef long long make_all_due(long long[::1] rows_words, long long[::1] living_words, long long[::1] due_words, long long[::1] control_words) noexcept nogil
cdef long long free_row(long long c, long long* rows, long long* living, long long* control) noexcept nogil
cpdef long long release(long long[::1] slots_words, long long[::1] past_words, long long[::1] rows_words, long long[::1] log_words, long long[::1] living_words, long long[::1] due_words, long long[::1] paths_words, long long[::1] control_words) noexcept nogil
