# Generated from table.py by setup.py.
from tcptrace_fsm.kernels.layout cimport *
from tcptrace_fsm.kernels.memory cimport *
from tcptrace_fsm.kernels.sequence cimport *

cdef inline long long stir(long long h, long long word, long long seed) noexcept nogil:
    h = (h ^ word) * seed & bit(62) - 1
    return h ^ h >> 29

cdef inline long long hash_of(long long* segments, long long s, long long seed) noexcept nogil:
    return hash_in(segments, s, segments[s + S_NET], seed)

cdef inline long long hash_plain(long long* segments, long long s, long long seed) noexcept nogil:
    return hash_in(segments, s, segments[s + S_NET] & 1, seed)

cdef inline long long hash_in(long long* segments, long long s, long long net, long long seed) noexcept nogil:
    a_hi = segments[s + S_SRC_HI]
    a_lo = segments[s + S_SRC_LO]
    b_hi = segments[s + S_DST_HI]
    b_lo = segments[s + S_DST_LO]
    a_port = segments[s + S_PORTS] >> 16
    b_port = segments[s + S_PORTS] & 65535
    swap = 0
    if a_lo > b_lo:
        swap = 1
    elif a_lo == b_lo:
        if a_hi > b_hi:
            swap = 1
        elif a_hi == b_hi and a_port > b_port:
            swap = 1
    if swap:
        a_hi, b_hi = (b_hi, a_hi)
        a_lo, b_lo = (b_lo, a_lo)
        a_port, b_port = (b_port, a_port)
    h = stir(seed, a_lo, seed)
    h = stir(h, b_lo, seed)
    h = stir(h, a_port << 16 | b_port, seed)
    if net:
        h = stir(h, net, seed)
        h = stir(h, a_hi, seed)
        h = stir(h, b_hi, seed)
    return h

cdef inline long long is_client(long long* rows, long long c, long long* segments, long long s) noexcept nogil:
    if rows[c + C_NET] != segments[s + S_NET]:
        return -1
    ports = segments[s + S_PORTS]
    if rows[c + C_PORTS] == ports and rows[c + C_CLIENT_LO] == segments[s + S_SRC_LO] and (rows[c + C_SERVER_LO] == segments[s + S_DST_LO]) and (rows[c + C_CLIENT_HI] == segments[s + S_SRC_HI]) and (rows[c + C_SERVER_HI] == segments[s + S_DST_HI]):
        return 1
    if rows[c + C_PORTS] == (ports & 65535) << 16 | ports >> 16 and rows[c + C_CLIENT_LO] == segments[s + S_DST_LO] and (rows[c + C_SERVER_LO] == segments[s + S_SRC_LO]) and (rows[c + C_CLIENT_HI] == segments[s + S_DST_HI]) and (rows[c + C_SERVER_HI] == segments[s + S_SRC_HI]):
        return 0
    return -1

cdef inline long long find(long long* slots, long long size, long long h, long long* rows, long long* segments, long long s) noexcept nogil:
    i = h & size - 1
    while slots[2 * i + 1]:
        if slots[2 * i] == h and is_client(rows, slots[2 * i + 1] - 1, segments, s) >= 0:
            break
        i = i + 1 & size - 1
    return 2 * i

cdef inline long long remove(long long* slots, long long size, long long h, long long c) noexcept nogil:
    mask = size - 1
    i = h & mask
    while slots[2 * i + 1] and slots[2 * i + 1] != c + 1:
        i = i + 1 & mask
    if not slots[2 * i + 1]:
        return 0
    j = i
    while True:
        j = j + 1 & mask
        if not slots[2 * j + 1]:
            break
        home = slots[2 * j] & mask
        if j - home & mask >= j - i & mask:
            slots[2 * i] = slots[2 * j]
            slots[2 * i + 1] = slots[2 * j + 1]
            i = j
    slots[2 * i] = 0
    slots[2 * i + 1] = 0
    return 1

cdef inline long long recall(long long* past, long long size, long long h) noexcept nogil:
    i = h & size - 1
    while past[2 * i]:
        if past[2 * i] == h + 1:
            return past[2 * i + 1]
        i = i + 1 & size - 1
    return -1

cdef inline long long remember(long long* past, long long size, long long h, long long use) noexcept nogil:
    i = h & size - 1
    while past[2 * i] and past[2 * i] != h + 1:
        i = i + 1 & size - 1
    new = 0 if past[2 * i] else 1
    past[2 * i] = h + 1
    past[2 * i + 1] = use
    return new

cdef inline long long next_block(long long r, long long* log) noexcept nogil:
    r = log[r + L_NEXT]
    while r >= 0 and r & LOG_BLOCK - 1:
        r = log[r + L_NEXT]
    return r

cdef inline long long set_clock(long long* clock, long long at, long long behind, long long time) noexcept nogil:
    if time >= clock[at]:
        clock[at] = time
        clock[behind] = 0
        return 0
    if clock[at] - time <= CLOCK_SLACK * MILLISECOND:
        clock[behind] = 0
        return 0
    clock[behind] += 1
    if clock[behind] < CLOCK_PROOF:
        return 0
    clock[at] = time
    clock[behind] = 0
    return 1
