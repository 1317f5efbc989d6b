from tcptrace_fsm.kernels.layout cimport *
from tcptrace_fsm.kernels.sequence cimport bit, low32

cdef long long load(const unsigned char[::1] data, long long at, long long length, long long offset, long long size) noexcept nogil
cdef long long arithmetic(long long code, long long a, long long b) noexcept nogil
cdef long long matches(const unsigned char[::1] data, long long at, long long captured, long long original, long long[::1] program, long long count, long long[::1] memory) noexcept nogil
cpdef long long select(const unsigned char[::1] data, long long[::1] frames, long long count, long long link, long long[::1] program, long long instructions, long long[::1] memory) noexcept nogil
