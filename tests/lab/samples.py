def record(*a): return 0
