"""The three kernels of Table A.1 in OpenCL C, with references in NumPy and SciPy."""
