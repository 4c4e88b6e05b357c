"""leanline makes imaging pipelines fast: what you prune comes back as time.

Names are loaded when they are first used, so that ``import leanline`` and ``leanline --help`` are
quick. `__init__.pyi` beside this file is the one list of what the package exports: add a name
there. No export may have the name of a subpackage, which would hide it once it is imported.
"""

import lazy_loader as _lazy

from leanline.version import __version__ as __version__

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
