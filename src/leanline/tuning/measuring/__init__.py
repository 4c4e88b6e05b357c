"""Real measurements: compiled, checked and timed in a process of their own."""
