"""Files of tensors in the safetensors format, written so that they survive, read so that they can be trusted.

    8 bytes: length of the header, little-endian | header, JSON | the tensors' bytes, little-endian, in C order

The header maps names to dtype, shape and place, and "__metadata__" to strings. Ours holds a CRC-32 of each tensor and of
the header, and our reader requires them: a file with one flipped bit, or cut short, is refused. Nothing in a file is code.
"""

from __future__ import annotations

import glob
import json
import math
import os
import re
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from backends import host

FORMAT = "ann-1"
LARGEST_HEADER, MOST_TENSORS, MOST_AXES = 16 << 20, 100_000, 32
DTYPES = {
    "BOOL": "bool", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64", "U8": "uint8", "U16": "uint16",
    "U32": "uint32", "U64": "uint64", "F16": "float16", "F32": "float32", "F64": "float64",
}  # fmt: skip
NAMES = {name: code for code, name in DTYPES.items()}


class FileError(ValueError):
    """A file is damaged, or not what was wanted; the message names file, tensor, what was found and what was expected."""


def write(path: str | os.PathLike[str], tensors: dict[str, Any], metadata: dict[str, str]) -> None:
    """Write host arrays by name, and strings by name, to one file. The old file stays until the new one is whole on the disk.

    TypeError for dtypes the format lacks. OSError (a full disk, no permission) leaves the old file.
    """
    arrays = {}
    for name, x in tensors.items():
        x = host.asarray(x)
        if x.dtype.name not in NAMES:
            raise TypeError(f"{path}: tensor {name!r} has dtype {x.dtype}, which the format lacks")
        arrays[name] = host.asarray(x, dtype=x.dtype.newbyteorder("<"), order="C")
    header: dict[str, Any] = {"__metadata__": {**metadata, "format": FORMAT}}
    start, parts = 0, []
    for name in sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name)):
        x = arrays[name]
        part = x.reshape(-1).view("uint8")
        header[name] = {"dtype": NAMES[x.dtype.name], "shape": list(x.shape), "data_offsets": [start, start + part.size]}
        header["__metadata__"][f"crc32:{name}"] = f"{zlib.crc32(part):08x}"
        start += part.size
        parts.append(part)
    header["__metadata__"]["crc32"] = _header_crc(header)
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LARGEST_HEADER:
        raise ValueError(f"{path}: the description takes {len(text)} bytes, at most {LARGEST_HEADER} are read again")
    write_atomic(path, [struct.pack("<Q", len(text)), text, *parts])


def write_atomic(path: str | os.PathLike[str], parts: list[Any]) -> None:
    """The parts as one file: written beside it, forced to the disk, then renamed over it; at every moment one whole file is there."""
    path = Path(os.path.realpath(path))  # a link stays a link
    for stale in path.parent.glob(f"{glob.escape(path.name)}.tmp-*"):
        pid = stale.name.rpartition("-")[2]
        if pid.isdigit() and (int(pid) == os.getpid() or not _alive(int(pid))):
            stale.unlink(missing_ok=True)
    temporary = path.with_name(f"{path.name}.tmp-{os.getpid()}")
    try:
        with open(temporary, "xb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if hasattr(os, "O_DIRECTORY"):
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """(tensors, metadata) of a file that `write` made. FileError unless every check passes; none allocates by what the file claims."""
    with open(path, "rb") as file:
        header = _read_header(path, file)
        metadata = header.get("__metadata__")
        metadata = metadata if isinstance(metadata, dict) else {}
        found = metadata.get("format")
        if found != FORMAT:
            if isinstance(found, str) and (version := re.fullmatch(r"ann-(\d{1,9})", found)) and int(version[1]) > int(FORMAT[4:]):
                raise FileError(f"{path}: the file's format is {found!r}, of a newer ann; this one reads {FORMAT!r}: pip install -U ann-array-api")
            raise FileError(f"{path}: the file's format is {found!r}, wanted: {FORMAT!r}. Files of other programs: ann.files.read_foreign(path).")
        if metadata.get("crc32") != _header_crc(header):
            raise FileError(f"{path}: the header is damaged: its checksum is {metadata.get('crc32')!r}, its content has {_header_crc(header)!r}")
        places = _places(path, header, file, DTYPES)
        kept = {key: value for key, value in metadata.items() if key not in ("format", "crc32") and not key.startswith("crc32:")}
        if len(metadata) - len(kept) != 2 + len(places) or not all(isinstance(value, str) for value in kept.values()):
            raise FileError(f"{path}: the checksums do not belong to the tensors")
        return {name: _read_tensor(path, file, name, *place, metadata.get(f"crc32:{name}", "")) for name, place in places.items()}, kept


def read_foreign(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """(tensors, metadata) of any safetensors file, without checksums; every other check is made. BF16 becomes float32."""
    with open(path, "rb") as file:
        header = _read_header(path, file)
        metadata = header.get("__metadata__", {})
        if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
            raise FileError(f"{path}: __metadata__ must map strings to strings")
        places = _places(path, header, file, DTYPES | {"BF16": "uint16"})
        tensors = {name: _read_tensor(path, file, name, *place) for name, place in places.items()}
    for name, x in tensors.items():
        if header[name]["dtype"] == "BF16":  # the upper half of a float32
            tensors[name] = (x.astype("uint32") << 16).view("float32")
    return tensors, metadata


def _read_header(path: str | os.PathLike[str], file: BinaryIO) -> dict[str, Any]:
    size = os.fstat(file.fileno()).st_size
    if size < 10:
        raise FileError(f"{path}: {size} bytes are no safetensors file")
    (length,) = struct.unpack("<Q", file.read(8))
    if length > min(LARGEST_HEADER, size - 8):
        raise FileError(f"{path}: the header claims {length} bytes; the file has {size - 8}, at most {LARGEST_HEADER} are read")
    text = file.read(length)
    if not text.startswith(b"{"):
        raise FileError(f"{path}: the header does not start with a brace")
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_refuse)
    except FileError as error:
        raise FileError(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise FileError(f"{path}: the header is no JSON: {type(error).__name__}") from None
    if not isinstance(header, dict):
        raise FileError(f"{path}: the header is no JSON object")
    if len(header) > MOST_TENSORS:
        raise FileError(f"{path}: {len(header)} tensors; at most {MOST_TENSORS} are read")
    return header


def _places(path: Any, header: dict[str, Any], file: BinaryIO, dtypes: dict[str, str]) -> dict[str, tuple[Any, list[int], int]]:
    """{name: (dtype, shape, bytes)} in the order of the file; together they are the rest of the file, or it is a FileError."""
    found: list[tuple[int, int, str, Any, list[int]]] = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise FileError(f"{path}: tensor {name!r}: dtype, shape and data_offsets are wanted")
        code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(code, str) or code not in dtypes:
            raise FileError(f"{path}: tensor {name!r} has dtype {code!r}; known: {', '.join(dtypes)}")
        if not isinstance(shape, list) or len(shape) > MOST_AXES or not all(map(_is_size, shape)):
            raise FileError(f"{path}: tensor {name!r}: its shape is not a list of at most {MOST_AXES} sizes")
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
            raise FileError(f"{path}: tensor {name!r}: its offsets are not two sizes")
        dtype = host.dtype(dtypes[code])
        if math.prod(n for n in shape if n) * dtype.itemsize >= 1 << 62:  # without the zeros: their product may be 0
            raise FileError(f"{path}: tensor {name!r}: shape {shape} is larger than any memory")
        if offsets[1] - offsets[0] != math.prod(shape) * dtype.itemsize:
            raise FileError(f"{path}: tensor {name!r}: {offsets[1] - offsets[0]} bytes for shape {shape}, expected {math.prod(shape) * dtype.itemsize}")
        found.append((*offsets, name, dtype, shape))
    found.sort(key=lambda place: place[:3])
    end, size = 0, os.fstat(file.fileno()).st_size - file.tell()
    for first, last, name, _, _ in found:
        if first != end:
            raise FileError(f"{path}: tensor {name!r} begins at byte {first}, expected {end}: tensors must cover the file without holes")
        end = last
    if end != size:
        raise FileError(f"{path}: the tensors take {end} bytes, the file has {size}")
    return {name: (dtype, shape, last - first) for first, last, name, dtype, shape in found}


def _read_tensor(path: Any, file: BinaryIO, name: str, dtype: Any, shape: list[int], length: int, crc: str | None = None) -> Any:
    """The next tensor of the file, in memory of its own."""
    raw = host.empty(length, dtype="uint8")
    if file.readinto(raw) != length:  # type: ignore[attr-defined]
        raise FileError(f"{path}: tensor {name!r} ends early")
    if crc is not None and (found := f"{zlib.crc32(raw):08x}") != crc:
        raise FileError(f"{path}: tensor {name!r} is damaged: its checksum is {found}, expected {crc}")
    if dtype.name == "bool" and length and raw.max() > 1:
        raise FileError(f"{path}: tensor {name!r}: a boolean is 0 or 1")
    return raw.view(dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)


def _header_crc(header: dict[str, Any]) -> str:
    """The checksum of the header without this entry, in one fixed spelling."""
    content = {**header, "__metadata__": {key: value for key, value in header["__metadata__"].items() if key != "crc32"}}
    return f"{zlib.crc32(json.dumps(content, sort_keys=True, separators=(',', ':'), ensure_ascii=True).encode()):08x}"


def _is_size(n: Any) -> bool:
    return type(n) is int and 0 <= n < 1 << 62


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FileError("the header has a name twice")
    return found


def _refuse(text: str) -> Any:
    raise FileError(f"the header holds the number {text}; only integers belong there")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
