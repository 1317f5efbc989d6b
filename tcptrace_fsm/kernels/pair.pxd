from tcptrace_fsm.kernels.layout cimport *
from tcptrace_fsm.kernels.memory cimport pointer
from tcptrace_fsm.kernels.sequence cimport low32
from tcptrace_fsm.kernels.table cimport stir

cdef long long after(long long a, long long b) noexcept nogil
cdef long long units(long long record, long long* held) noexcept nogil
cdef long long lasting_flags() noexcept nogil
cdef long long content(long long s, long long* segments, long long seed) noexcept nogil
cdef long long same(long long m, long long* held, long long s, long long* segments) noexcept nogil
cdef long long find_way(long long ports, long long src_hi, long long src_lo, long long dst_hi, long long dst_lo, long long net, long long* ways, long long* ctl) noexcept nogil
cdef long long way_of(long long m, long long* held, long long* ways, long long* ctl) noexcept nogil
cdef long long way_back(long long m, long long* held, long long* ways, long long* ctl) noexcept nogil
cdef long long hosts_of(long long m, long long* held, long long back, long long* ways, long long* ctl) noexcept nogil
cdef long long learn(long long m, long long point, long long* held, long long* ways, long long* ctl) noexcept nogil
cpdef long long know_hosts(long long count, long long[::1] known_words, long long[::1] ways_words, long long[::1] ctl_words) noexcept nogil
cpdef long long tidy_ways(long long old_size, long long[::1] old_words, long long[::1] ways_words, long long[::1] held_words, long long[::1] ctl_words) noexcept nogil
cdef long long slot(long long number, long long* ctl) noexcept nogil
cdef long long no_longer_open(long long m, long long* held, long long* ways, long long* ctl) noexcept nogil
cdef long long settle(long long m, long long fate, long long* held, long long* ways, long long* ctl) noexcept nogil
cdef long long arrive(long long m, long long* held, long long* ways, long long* ctl) noexcept nogil
cdef long long keep(long long s, long long point, long long bucket, long long* segments, long long* held, long long* buckets, long long* ways, long long* ctl) noexcept nogil
cdef long long open_up(long long m, long long* held, long long* ways, long long* ctl) noexcept nogil
cdef long long twice_captured(long long m, long long* held, long long s, long long* segments) noexcept nogil
cdef long long cover(long long g, long long point, long long s, long long strict, long long* segments, long long* held, long long* ways, long long* ctl) noexcept nogil
cdef long long acknowledge(long long back, long long ack, long long* held, long long* ways, long long* ctl) noexcept nogil
cdef long long take(long long s, long long point, long long* segments, long long* held, long long* buckets, long long* ways, long long* ctl) noexcept nogil
cdef long long running(long long point, long long time, long long* ctl) noexcept nogil
cdef long long lacking(long long point, long long* ctl) noexcept nogil
cdef long long passed_over(long long m, long long* held, long long* ways) noexcept nogil
cdef long long judge(long long m, long long* held, long long* ways, long long* ctl) noexcept nogil
cdef long long give_out(long long at, long long* held, long long* ways, long long* out, long long* ctl) noexcept nogil
cdef long long forget(long long* held, long long* buckets, long long* ways, long long* ctl) noexcept nogil
cpdef long long pair(long long[::1] first_words, long long first_count, long long[::1] second_words, long long second_count, long long[::1] held_words, long long[::1] buckets_words, long long[::1] ways_words, long long[::1] out_words, long long[::1] ctl_words) noexcept nogil
