# Generated from sequence.py by setup.py.

cdef inline long long bit(long long number) noexcept nogil:
    return number - number + 1 << number

cdef inline long long low32(long long value) noexcept nogil:
    return value - (value >> 32 << 32)

cdef inline long long widen(long long wire, long long base, long long near) noexcept nogil:
    ahead = low32(wire - base - near)
    return near + ahead - (ahead >> 31 << 32)

cdef inline long long newer(long long a, long long b) noexcept nogil:
    ahead = low32(a - b)
    return 1 if ahead and (not ahead >> 31) else 0
