"""Programs: abstract arrays, which have a shape and a dtype and no data."""

from backends.program.abstract import Abstract, Spec, abstract, abstract_library, shape_of, spec

__all__ = ["Abstract", "Spec", "abstract", "abstract_library", "shape_of", "spec"]
