from tcptrace_fsm.kernels.layout cimport *
from tcptrace_fsm.kernels.sequence cimport bit

cdef long long stir(long long h, long long word, long long seed) noexcept nogil
cpdef long long hash_of(long long[::1] segments, long long s, long long seed) noexcept nogil
cpdef long long is_client(long long[::1] rows, long long c, long long[::1] segments, long long s) noexcept nogil
cpdef long long find(long long[::1] slots, long long size, long long h, long long[::1] rows, long long[::1] segments, long long s) noexcept nogil
cpdef long long remove(long long[::1] slots, long long size, long long h, long long c) noexcept nogil
cpdef long long move_slots(long long[::1] old, long long old_size, long long[::1] new, long long new_size) noexcept nogil
