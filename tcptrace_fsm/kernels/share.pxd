from tcptrace_fsm.kernels.layout cimport *
from tcptrace_fsm.kernels.memory cimport pointer
from tcptrace_fsm.kernels.table cimport hash_plain, set_clock

cpdef long long keys(long long[::1] segments_words, long long count, long long seed, long long[::1] out_words) noexcept nogil
cpdef long long pick(long long[::1] segments_words, long long count, long long number, long long shares, long long seed, long long[::1] clock_words, long long[::1] out_words) noexcept nogil
