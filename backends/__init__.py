"""Arrays: which library, which device, and what the Array API standard lacks. Knows nothing of networks."""

from backends import tree
from backends.backend import Backend, BackendUnavailable, Status, available, get, move, of
from backends.library import gap, known, library_of, namespace

host = known("numpy").xp  # the namespace of host arrays: files, data sets, pictures

__all__ = [
    "Backend",
    "BackendUnavailable",
    "Status",
    "available",
    "gap",
    "get",
    "host",
    "library_of",
    "move",
    "namespace",
    "of",
    "tree",
]
