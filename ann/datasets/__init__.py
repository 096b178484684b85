"""Data sets: real ones that ship with the package, real ones read from the user's files, and generated ones."""

from ann.datasets.classes import CLASSES
from ann.datasets.digits import digits
from ann.datasets.generated import blobs, circles, curve, moons, spirals, xor
from ann.datasets.iris import iris
from ann.datasets.pictures import cifar10, cifar100, fashion_mnist, mnist

__all__ = ["CLASSES", "blobs", "cifar10", "cifar100", "circles", "curve", "digits", "fashion_mnist", "iris", "mnist", "moons", "spirals", "xor"]
