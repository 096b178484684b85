"""Programs: abstract arrays, which have a shape and a dtype and no data, and the Program that is read off from them."""

from backends.program.abstract import Abstract, Spec, abstract, abstract_library, shape_of, spec
from backends.program.program import Instruction, Program, Ref

__all__ = ["Abstract", "Instruction", "Program", "Ref", "Spec", "abstract", "abstract_library", "shape_of", "spec"]
