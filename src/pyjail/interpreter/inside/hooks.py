"""What is done when a cell imports a module that is to know of us: tracebacks' lines, matplotlib's show, IPython."""

from __future__ import annotations

import builtins
import os
import sys

from .cells import Cells, remember

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from .values import Shower


class Hooks:
    """A finder before all others, which finds nothing by itself."""

    def __init__(self, after: dict[str, Callable[[Any], None]]) -> None:
        self.after = after

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in self.after:
            return None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                        loader: Any = Loader(spec.loader, self.after[name])
                        spec.loader = loader
                    return spec
        return None


class Loader:
    """The loader of such a module, and what comes after it."""

    def __init__(self, loader: Any, after: Callable[[Any], None]) -> None:
        self.loader, self.after = loader, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def create_module(self, spec: Any) -> Any:
        return self.loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__loader__ = module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        self.after(module)


def install(cells: Cells, shower: Shower) -> None:
    """Make everything that cells find different from other programs."""

    def lines(linecache: Any) -> None:
        for name, source in cells.sources.items():
            remember(linecache, name, source)

    def show(*args: Any, **options: Any) -> None:
        from .figures import show_all

        show_all(shower.show)

    def pyplot(module: Any) -> None:
        module.show = show

    def ipython(module: Any) -> None:
        module.display = shower.display

    def pandas(module: Any) -> None:
        module.set_option("display.max_columns", 20)  # as in a notebook: there is no terminal whose width would count

    after = {"linecache": lines, "matplotlib.pyplot": pyplot, "pandas": pandas}
    after |= dict.fromkeys(("IPython.display", "IPython.core.display_functions"), ipython)
    sys.meta_path.insert(0, Hooks(after))
    sys.meta_path.append(Instead())
    vars(builtins).update(input=refuse, display=shower.display)
    sys.displayhook = shower.displayhook
    os.system = system


def refuse(prompt: object = "") -> NoReturn:
    """What ``input()`` does here."""
    raise EOFError("input() has nobody to ask here: write the value into the code")


def system(command: Any) -> int:
    """`os.system`: the exit status of a command of the shell, as os.wait() has it."""
    from .shell import system

    return system(command)


class Instead:
    """A finder after all others: where there is no IPython, its ``display`` can be imported all the same."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name not in ("IPython", "IPython.display"):
            return None
        from _frozen_importlib import ModuleSpec

        loader: Any = self
        return ModuleSpec(name, loader, is_package=name == "IPython")

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: Any) -> None:
        if module.__name__ == "IPython.display":
            from . import rich

            vars(module).update({name: getattr(rich, name) for name in rich.__all__}, display=vars(builtins)["display"])
        else:
            module.get_ipython = lambda: None
