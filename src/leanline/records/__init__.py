"""Records of a run: atomic files, run folders, progress bars and logs.

Import from the modules: `leanline.records.run.RunFolder`, `leanline.records.atomic.atomic_write`,
`leanline.records.progress.bar`, ... Only `run` and `tensors` need PyTorch; the others load fast.
"""
