"""The face of a room: the few names that notebooks use, each imported from its module on first use.

So `from tunebook import models` costs nothing until a name of it is used, and torch is loaded only by those who need
it.
"""

import importlib


def face(room: str, names: dict[str, str]):
    """`__getattr__`, `__dir__` and `__all__` of the room's `__init__`; `names`: public name -> the module that has
    it.
    """

    def get(name: str):
        if name not in names:
            raise AttributeError(f"module {room!r} has no attribute {name!r}; its names are {', '.join(names)}")
        return getattr(importlib.import_module(f"{room}.{names[name]}"), name)

    return get, lambda: sorted(names), list(names)
