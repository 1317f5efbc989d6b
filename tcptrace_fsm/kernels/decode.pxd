from tcptrace_fsm.kernels.layout cimport *
from tcptrace_fsm.kernels.memory cimport octets, pointer

cdef long long number16(long long a, long long b) noexcept nogil
cdef long long number32(long long a, long long b, long long c, long long d) noexcept nogil
cdef long long signed64(long long high, long long low) noexcept nogil
cdef long long tunnel_protocol(long long protocol) noexcept nogil
cdef long long tunnel_port(long long port) noexcept nogil
cdef long long tunnel_ethertype(long long kind) noexcept nogil

cdef long long quotes_tcp(
    const unsigned char* data, long long at, long long end, long long six
) noexcept nogil

cdef long long shown(long long length, long long room, long long offset, long long part) noexcept nogil

cdef void broken(
    const unsigned char* data, long long at, long long end, long long length, long long room, long long part,
    long long* segments, long long s
) noexcept nogil

cdef long long checksum(
    const unsigned char* data, long long at, long long length, long long pseudo
) noexcept nogil

cdef void options(
    const unsigned char* data, long long at, long long stop, long long* segments, long long s
) noexcept nogil

cdef long long decode_tcp(
    const unsigned char* data, long long at, long long end, long long length, long long room, long long doubts,
    long long* segments, long long s
) noexcept nogil

cdef long long decode_ipv4(
    const unsigned char* data, long long at, long long end, long long wire, long long path,
    long long* segments, long long s
) noexcept nogil

cdef long long decode_ipv6(
    const unsigned char* data, long long at, long long end, long long wire, long long path,
    long long* segments, long long s
) noexcept nogil

cdef long long decode_frame(
    const unsigned char* data, long long* frames, long long f, long long path,
    long long* segments, long long s
) noexcept nogil

cpdef long long decode(
    const unsigned char[::1] data_bytes, long long[::1] frames_words, long long count, long long first, long long path,
    long long[::1] segments_words, long long[::1] outcomes_words
) noexcept nogil
