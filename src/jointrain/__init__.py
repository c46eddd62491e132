"""jointrain: train related tasks together, and learn whether that beats training them apart.

The names are in `__init__.pyi`; a room is imported when one of its names is first used.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]
