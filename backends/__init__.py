"""Arrays: which library, which device, and what the Array API standard lacks. Knows nothing of networks."""

from typing import TYPE_CHECKING

from backends import tree
from backends.backend import Backend, BackendUnavailable, Status, available, get, move, of
from backends.lazy import lazily
from backends.library import gap, known, library_of, namespace
from backends.stream import Stream

if TYPE_CHECKING:
    from backends.compile import jit
    from backends.program import Program, Spec, shape_of
else:
    __getattr__, __dir__ = lazily(__name__, {"backends.compile": "jit", "backends.program": "Program Spec shape_of"})

host = known("numpy").xp  # the namespace of host arrays: files, data sets, pictures

__all__ = [
    "Backend",
    "BackendUnavailable",
    "Program",
    "Spec",
    "Status",
    "Stream",
    "available",
    "gap",
    "get",
    "host",
    "jit",
    "library_of",
    "move",
    "namespace",
    "of",
    "shape_of",
    "tree",
]
