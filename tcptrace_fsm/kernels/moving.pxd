from tcptrace_fsm.kernels.layout cimport *
from tcptrace_fsm.kernels.memory cimport pointer
from tcptrace_fsm.kernels.table cimport remember

cpdef long long move_slots(long long[::1] old_words, long long old_size, long long[::1] new_words, long long new_size, long long oldest) noexcept nogil
cpdef long long move_past(long long[::1] old_words, long long old_size, long long[::1] new_words, long long new_size, long long oldest) noexcept nogil
