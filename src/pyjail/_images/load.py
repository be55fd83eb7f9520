"""An image of this machine -> the store: `load`."""

from __future__ import annotations

from pyjail._base.errors import SpecError
from pyjail._images import platforms, reference, sources
from pyjail._images.bounds import Bounds
from pyjail._images.lock import Lock
from pyjail._images.record import Image
from pyjail._images.store import Store
from pyjail._images.unpack import Progress


def load(
    store: Store,
    spec: str,
    name: str | None,
    *,
    platform: str | None = None,
    progress: Progress | None = None,
    bounds: Bounds | None = None,
    max_size: int | None = None,
) -> Image:
    """See `pyjail.images.load`."""
    if name is not None:
        reference.local_name(name)
    wanted = platforms.parse(platform) if platform is not None else None
    store.make()
    with store.working(), store.names() as names:
        names.take()
        store.sweep()
    with Lock() as lock, store.staging(lock) as staging:
        source = sources.opened(spec, staging, bounds, wanted)
        try:
            if name is None:
                name = _only(spec, source.names())
            return store.add(
                source, name, bounds, max_size=max_size, platform=wanted, progress=progress, origin={"source": spec}
            )
        finally:
            source.close()


def _only(spec: str, names: list[str]) -> str:
    """The name that an archive itself says."""
    if len(names) != 1:
        said = f"it says {len(names):,} names" if names else "it says none"
        raise SpecError("name", None, f"a name for the image is needed: {spec} has no single one ({said})")
    return reference.local_name(names[0])
