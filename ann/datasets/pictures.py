"""Pictures from files that the user has in a folder: MNIST and Fashion-MNIST, CIFAR-10 and CIFAR-100.

    (x_train, y_train), (x_test, y_test) = mnist("~/data/mnist")

Images are NumPy float32 in [0, 1] of shape (n, rows, cols, channels), labels int64. Nothing is downloaded, nothing is
unpickled. What a file claims of its sizes is checked against its length before memory is taken for it; `ann.FileError`
names the file, what it has and what was expected.
"""

from __future__ import annotations

import ast
import gzip
import math
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

from ann.files import FileError
from backends import host

Array = Any
Split = tuple[tuple[Array, Array], tuple[Array, Array]]
DEFLATE_RATIO = 1032  # no compressed byte holds more: the longest match, 258 bytes, in two bits


def mnist(folder: str | os.PathLike[str]) -> Split:
    """Handwritten digits, 60,000 images of 28×28 pixels and 10,000 to test: x (n, 28, 28, 1), y in 0 … 9.

    The folder has the four IDX files, train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
    t10k-labels-idx1-ubyte, each plain or as .gz; or Keras's mnist.npz.      LeCun, Cortes & Burges 1998.
    """
    return _like_mnist(folder, "mnist")


def fashion_mnist(folder: str | os.PathLike[str]) -> Split:
    """Clothes in ten classes, as many images and in the same files as MNIST: x (n, 28, 28, 1), y in 0 … 9.

    The four IDX files, plain or .gz, or fashion_mnist.npz; github.com/zalandoresearch/fashion-mnist, MIT licence.
    Xiao, Rasul & Vollgraf 2017.
    """
    return _like_mnist(folder, "fashion_mnist")


def cifar10(folder: str | os.PathLike[str]) -> Split:
    """Photographs in ten classes, 50,000 and 10,000 to test: x (n, 32, 32, 3), y in 0 … 9.

    The files of cifar-10-binary.tar.gz: data_batch_1.bin … data_batch_5.bin and test_batch.bin, in the folder or in its
    cifar-10-batches-bin; www.cs.toronto.edu/~kriz/cifar.html.      Krizhevsky 2009.
    """
    place = _cifar_place(folder, "CIFAR-10", "cifar-10-binary.tar.gz", "cifar-10-batches-bin", "test_batch.bin", ("cifar-10-batches-py", "test_batch"))
    train = [_cifar(place / f"data_batch_{i}.bin", 1, 0, 10) for i in range(1, 6)]
    x, y = (host.concatenate(parts) for parts in zip(*train, strict=True))
    x_test, y_test = _cifar(place / "test_batch.bin", 1, 0, 10)
    return (_floats(x), y), (_floats(x_test), y_test)


def cifar100(folder: str | os.PathLike[str], label_mode: str = "fine") -> Split:
    """Photographs in 100 classes (label_mode "fine") or 20 groups of classes ("coarse"): x (n, 32, 32, 3), y in 0 … 99 or 0 … 19.

    The files of cifar-100-binary.tar.gz: train.bin and test.bin, in the folder or in its cifar-100-binary;
    www.cs.toronto.edu/~kriz/cifar.html.      Krizhevsky 2009.
    """
    if label_mode not in ("fine", "coarse"):
        raise ValueError(f'cifar100: label_mode is "fine" (100 classes) or "coarse" (20), {label_mode!r} came')
    place = _cifar_place(folder, "CIFAR-100", "cifar-100-binary.tar.gz", "cifar-100-binary", "test.bin", ("cifar-100-python", "test"))
    which, classes = (1, 100) if label_mode == "fine" else (0, 20)
    (x, y), (x_test, y_test) = (_cifar(place / name, 2, which, classes) for name in ("train.bin", "test.bin"))
    return (_floats(x), y), (_floats(x_test), y_test)


def _floats(images: Array) -> Array:
    x = images.astype("float32")
    x /= 255.0
    return x


def _folder(folder: str | os.PathLike[str]) -> Path:
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise FileNotFoundError(f"{place} is no folder; wanted: the folder that holds the files of the data set")
    return place


# ------------------------------------------------------------------------------------------------- MNIST: IDX and npz


def _like_mnist(folder: str | os.PathLike[str], name: str) -> Split:
    place = _folder(folder)
    archive = place / f"{name}.npz"
    if archive.exists():
        parts = [_npz(archive, kind, axes) for kind, axes in (("x_train", 3), ("y_train", 1), ("x_test", 3), ("y_test", 1))]
        paths = [archive] * 4
    else:
        kinds = [f"{part}-{kind}-idx{axes}-ubyte" for part in ("train", "t10k") for kind, axes in (("images", 3), ("labels", 1))]
        paths = [_find(place, kind, name) for kind in kinds]
        parts = [_idx(path, axes) for path, axes in zip(paths, (3, 1, 3, 1), strict=True)]
    halves = []
    for i in (0, 2):
        x, y = parts[i], parts[i + 1]
        if x.shape[1:] != (28, 28):
            raise FileError(f"{paths[i]}: images of {x.shape[1]}×{x.shape[2]} pixels; expected 28×28")
        if len(x) != len(y):
            raise FileError(f"{paths[i + 1]}: {len(y):,} labels; expected {len(x):,}, one for each image")
        halves.append((_floats(x.reshape(-1, 28, 28, 1)), _labels(y, 10, paths[i + 1])))
    return halves[0], halves[1]


def _find(place: Path, kind: str, name: str) -> Path:
    """The file of this kind, by its usual names and places."""
    for below in ("", "raw", "MNIST/raw", "FashionMNIST/raw"):
        for stem in (kind, kind.replace("-idx", ".idx")):
            for path in (place / below / stem, place / below / f"{stem}.gz"):
                if path.is_file():
                    return path
    raise FileNotFoundError(
        f"{place} has no {kind} or {kind}.gz. {name} takes four files, train-images-idx3-ubyte, train-labels-idx1-ubyte, "
        f"t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte (each may be .gz), or {name}.npz."
    )


def _idx(path: Path, axes: int) -> Array:
    """An IDX file of unsigned bytes: 0, 0, 8, number of axes, then each size as four bytes, big-endian, then the numbers."""
    packed = path.suffix == ".gz"
    try:
        with gzip.open(path) if packed else open(path, "rb") as file:
            head = file.read(4 + 4 * axes)
            magic = bytes((0, 0, 8, axes))
            if head[:4] != magic:
                raise FileError(f"{path} begins with the bytes {head[:4].hex(' ')}; expected {magic.hex(' ')}: unsigned bytes with {axes} axes")
            if len(head) != 4 + 4 * axes:
                raise FileError(f"{path} ends within its header, after {len(head)} bytes; expected {4 + 4 * axes}")
            shape = tuple(int.from_bytes(head[i : i + 4], "big") for i in range(4, len(head), 4))
            return _bytes(file, path, shape, path.stat().st_size * (DEFLATE_RATIO if packed else 1))
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise FileError(f"{path} is damaged: {error}; expected a whole gzip file") from error


def _npz(path: Path, name: str, axes: int) -> Array:
    """One array of a NumPy archive, never unpickled: a zip of NPY files, each a header and the numbers."""
    with open(path, "rb") as whole:
        try:
            with zipfile.ZipFile(whole) as archive:
                if f"{name}.npy" not in archive.namelist():
                    raise FileError(f"{path} has no {name}; expected x_train, y_train, x_test, y_test")
                with archive.open(f"{name}.npy") as file:
                    if file.read(8) != b"\x93NUMPY\x01\x00":
                        raise FileError(f"{path}: {name}.npy does not begin as a NumPy file of version 1.0")
                    header = ast.literal_eval(file.read(min(int.from_bytes(file.read(2), "little"), 1024)).decode("latin-1").strip())
                    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"} or type(header["shape"]) is not tuple:
                        raise FileError(f"{path}: the header of {name}.npy is damaged; expected descr, fortran_order and shape")
                    kind, shape = header["descr"], header["shape"]
                    if kind == "|O":
                        raise FileError(f"{path}: {name} holds pickled objects, which are never read; expected unsigned bytes")
                    if kind != "|u1" or header["fortran_order"] or len(shape) != axes or not all(type(n) is int and n >= 0 for n in shape):
                        raise FileError(f"{path}: {name} has type {kind!r} and shape {shape}; expected unsigned bytes ('|u1') with {axes} axes in C order")
                    return _bytes(file, path, shape, path.stat().st_size * DEFLATE_RATIO)
        except FileError:
            raise
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, SyntaxError, OSError) as error:
            raise FileError(f"{path}, {name}: the archive is damaged: {error}; expected a NumPy archive (.npz)") from error


def _bytes(file: Any, path: Path, shape: tuple[int, ...], most: int) -> Array:
    """The rest of a file as unsigned bytes of this shape: read piece by piece, so that a false size takes no memory."""
    wanted = math.prod(shape)
    described = f"{' × '.join(f'{n:,}' for n in shape)} = {wanted:,} numbers"
    if wanted > most:
        raise FileError(f"{path}: its header promises {described}, and the file is too short for them")
    content = bytearray()
    while piece := file.read(min(1 << 20, wanted + 1 - len(content))):
        content += piece
    if len(content) != wanted:
        found = f"only {len(content):,} follow" if len(content) < wanted else "more follow"
        raise FileError(f"{path}: its header promises {described}; {found}")
    return host.frombuffer(content, dtype="uint8").reshape(shape)


def _labels(y: Array, classes: int, path: Path) -> Array:
    if len(y) and int(y.max()) >= classes:
        row = int(host.argmax(y >= classes))
        raise FileError(f"{path}: the label of row {row} is {int(y[row])}; expected 0 … {classes - 1}")
    return y.astype("int64")


# ------------------------------------------------------------------------------------------------- CIFAR: binary records


def _cifar_place(folder: str | os.PathLike[str], title: str, archive: str, below: str, file: str, pickled: tuple[str, str]) -> Path:
    """The folder with the binary version; where the Python version lies, which is pickled, an error that says what to take."""
    place = _folder(folder)
    for candidate in (place, place / below):
        if (candidate / file).is_file():
            return candidate
    source = f"expected the binary version: {archive} of www.cs.toronto.edu/~kriz/cifar.html, unpacked there"
    for name in pickled:
        if (place / name).exists():
            raise FileError(f"{place / name} is {title} in its Python version, which is pickled: to read it can run any code. Never read; {source}.")
    raise FileNotFoundError(f"{place} has no {file} of {title}; {source}.")


def _cifar(path: Path, labels: int, which: int, classes: int) -> tuple[Array, Array]:
    """(images, labels) of records of one or two label bytes and 3·32·32 pixels: the red plane, the green, the blue, row by row."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; the binary version has it")
    record, size = labels + 3072, path.stat().st_size
    if size == 0 or size % record:
        raise FileError(f"{path} has {size:,} bytes; expected a multiple of {record:,} ({labels} for the label, 3 × 32 × 32 for the image)")
    records = host.frombuffer(path.read_bytes(), dtype="uint8").reshape(-1, record)
    return records[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), _labels(records[:, which], classes, path)
