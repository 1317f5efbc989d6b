from tcptrace_fsm.kernels.layout cimport *

cdef long long number(long long a, long long b, long long c, long long d, long long swapped) noexcept nogil

cdef long long stamp_to_ns(
    long long high, long long low, long long unit, long long factor, long long offset
) noexcept nogil

cpdef long long walk_pcap(const unsigned char[::1] data, long long[::1] frames, long long[::1] ctl) noexcept nogil

cpdef long long walk_snoop(const unsigned char[::1] data, long long[::1] frames, long long[::1] ctl) noexcept nogil

cpdef long long walk_pcapng(
    const unsigned char[::1] data, long long[::1] frames, long long[::1] interfaces, long long[::1] ctl
) noexcept nogil
