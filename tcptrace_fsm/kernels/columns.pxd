from tcptrace_fsm.kernels.memory cimport pointer

cpdef long long scatter(long long count, long long size, long long[::1] block_words, long long wanted, long long[::1] words_words, long long begin, long long[::1] places_words, long long stride, long long[::1] columns_words) noexcept nogil
