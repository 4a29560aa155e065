"""Python's search for garbage, without the half a million objects of the libraries that never are any."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def old_objects_skipped() -> AsyncIterator[None]:
    """While it is open, a search for garbage does not go through the objects that were there before.

    Those that are in cycles nobody refers to, or come to be, stay until it is closed. Of several that are open at once,
    the first that is closed ends this for all. A full search of the old objects takes a quarter of a second, and is
    made every few steps of a small model.
    """
    gc.collect(1)
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
