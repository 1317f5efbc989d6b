cpdef long long bit(long long number) noexcept nogil
cpdef long long low32(long long value) noexcept nogil
cpdef long long widen(long long wire, long long base, long long near) noexcept nogil
cpdef long long newer(long long a, long long b) noexcept nogil
