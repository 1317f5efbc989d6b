from tcptrace_fsm.kernels.layout cimport *
from tcptrace_fsm.kernels.memory cimport pointer
from tcptrace_fsm.kernels.sequence cimport bit

cdef long long stir(long long h, long long word, long long seed) noexcept nogil
cdef long long hash_of(long long* segments, long long s, long long seed) noexcept nogil
cdef long long hash_plain(long long* segments, long long s, long long seed) noexcept nogil
cdef long long hash_in(long long* segments, long long s, long long net, long long seed) noexcept nogil
cdef long long is_client(long long* rows, long long c, long long* segments, long long s) noexcept nogil
cdef long long find(long long* slots, long long size, long long h, long long* rows, long long* segments, long long s) noexcept nogil
cdef long long remove(long long* slots, long long size, long long h, long long c) noexcept nogil
cpdef long long move_slots(long long[::1] old_words, long long old_size, long long[::1] new_words, long long new_size) noexcept nogil
cdef long long recall(long long* past, long long size, long long h) noexcept nogil
cdef long long remember(long long* past, long long size, long long h, long long use) noexcept nogil
cpdef long long move_past(long long[::1] old_words, long long old_size, long long[::1] new_words, long long new_size, long long oldest) noexcept nogil
