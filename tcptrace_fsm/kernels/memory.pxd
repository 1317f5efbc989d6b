cdef extern from *:
    """
    #if defined(__GNUC__) || defined(__clang__)
    #define tcptrace_fsm_prefetch(address) __builtin_prefetch(address)
    #else
    #define tcptrace_fsm_prefetch(address) ((void)0)
    #endif
    """
    void tcptrace_fsm_prefetch(const void* address) noexcept nogil

cdef inline long long* pointer(long long[::1] words) noexcept nogil:
    return &words[0]

cdef inline const unsigned char* octets(const unsigned char[::1] content) noexcept nogil:
    return &content[0]

cdef inline long long prefetch(long long* words, long long i) noexcept nogil:
    tcptrace_fsm_prefetch(&words[i])
    return 0
