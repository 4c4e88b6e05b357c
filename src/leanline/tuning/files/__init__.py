"""Files of measured search spaces: Parquet, Kernel Tuner's cache, T4."""
