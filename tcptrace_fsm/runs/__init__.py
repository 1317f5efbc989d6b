"""Ways to run the engine: several processes, a cluster, two capture points, timers learned first."""
