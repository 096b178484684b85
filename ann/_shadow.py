"""A clear message where a foreign module named `backends` stands before ours on the import path."""

import backends

if not hasattr(backends, "namespace"):
    raise ImportError(
        f"ann needs its package `backends`, but Python found another one: {getattr(backends, '__file__', backends)}. Rename that file or "
        "directory, or run from another directory."
    )
