"""Statistics of the benchmark's table: who is better, by how much, and how sure that is."""
