"""Small matrices are left to one thread: several wait for each other longer than they compute.

Where all cores are busy, the threads of a factorisation of 250 rows wait at every barrier for one that does not run:
0.2 s instead of 3 ms, in programs that are solved by the hundred.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from contextvars import ContextVar

from threadpoolctl import ThreadpoolController

SMALL = 1000  # rows and columns, from where on a second thread is worth its barriers on a machine at rest

_before: ContextVar[dict[str, int] | None] = ContextVar("before", default=None)


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


@contextlib.contextmanager
def threads_for(size: int) -> Iterator[None]:
    """While this lasts, linear algebra has one thread if its matrices have no more rows and columns than `SMALL`.

    Inside of it, larger ones have as many threads again as there were before.
    """
    before, is_small = _before.get(), size <= SMALL
    if is_small == (before is not None):
        yield
        return
    libraries = _libraries()
    now = {library.prefix: library.get_num_threads() for library in libraries.lib_controllers} if is_small else None
    token = _before.set(now)
    try:
        with libraries.limit(limits=1 if before is None else before):
            yield
    finally:
        _before.reset(token)
