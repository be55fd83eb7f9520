"""`once`: a property that is made when it is first asked for, and kept.

As functools.cached_property since Python 3.12. Before, all instances share one lock: threads wait for each other, and
the child of os.fork for a thread that it does not have.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from functools import cached_property

    once = cached_property
else:

    class once:
        """Two threads may both make it; the last one's is kept."""

        def __init__(self, make):
            self.make, self.__doc__ = make, make.__doc__

        def __set_name__(self, owner, name):
            self.name = name

        def __get__(self, instance, owner=None):
            if instance is None:
                return self
            value = instance.__dict__[self.name] = self.make(instance)
            return value
