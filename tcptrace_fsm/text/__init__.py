"""How numbers, lengths of time and addresses are written: the same everywhere."""
