"""Speed as ratios, measured interleaved in one run. ``python -m benchmarks`` runs all of them."""
