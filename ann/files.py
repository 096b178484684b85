"""Files of tensors in the safetensors format, written so that they survive, read so that they can be trusted.

    8 bytes: length of the header, little-endian | header, JSON | the tensors' bytes, little-endian, in C order

The header maps names to dtype, shape and place, and "__metadata__" to strings. Ours holds a CRC-32 of each tensor and of
the header, and our reader requires them: a file with one flipped bit, or cut short, is refused. Nothing in a file is code.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any

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
        arrays[name] = x.astype(x.dtype.newbyteorder("<"), order="C", copy=True)
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": {**metadata, "format": FORMAT}}
    start, blobs = 0, []
    for name in order:
        x = arrays[name]
        blob = x.tobytes()
        header[name] = {"dtype": NAMES[x.dtype.newbyteorder("=").name], "shape": list(x.shape), "data_offsets": [start, start + len(blob)]}
        header["__metadata__"][f"crc32:{name}"] = f"{zlib.crc32(blob):08x}"
        start += len(blob)
        blobs.append(blob)
    header["__metadata__"]["crc32"] = _header_crc(header)
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > LARGEST_HEADER:
        raise ValueError(f"{path}: the description takes {len(text)} bytes, at most {LARGEST_HEADER} are read again")
    write_atomic(path, [struct.pack("<Q", len(text)), text, *blobs])


def write_atomic(path: str | os.PathLike[str], parts: list[bytes]) -> None:
    """The parts as one file: written beside it, forced to the disk, then renamed over it; at every moment one whole file is there."""
    path = Path(path)
    for stale in path.parent.glob(f"{path.name}.tmp-*"):
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
    header, body = _read_header(path)
    metadata = header.get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        found = metadata.get("format") if isinstance(metadata, dict) else None
        raise FileError(f"{path}: the file's format is {found!r}, wanted: {FORMAT!r}. Files of other programs: ann.files.read_foreign(path).")
    if metadata.get("crc32") != _header_crc(header):
        raise FileError(f"{path}: the header is damaged: its checksum is {metadata.get('crc32')!r}, its content has {_header_crc(header)!r}")
    tensors = _tensors(path, header, body, checked=True)
    kept = {key: value for key, value in metadata.items() if key not in ("format", "crc32") and not key.startswith("crc32:")}
    if len(metadata) - len(kept) != 2 + len(tensors):
        raise FileError(f"{path}: the checksums do not belong to the tensors")
    return tensors, kept


def read_foreign(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """(tensors, metadata) of any safetensors file, without checksums; every other check is made."""
    header, body = _read_header(path)
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise FileError(f"{path}: __metadata__ must map strings to strings")
    return _tensors(path, header, body, checked=False), metadata


def _read_header(path: str | os.PathLike[str]) -> tuple[dict[str, Any], bytes]:
    content = Path(path).read_bytes()
    if len(content) < 10:
        raise FileError(f"{path}: {len(content)} bytes are no safetensors file")
    (length,) = struct.unpack("<Q", content[:8])
    if length > min(LARGEST_HEADER, len(content) - 8):
        raise FileError(f"{path}: the header claims {length} bytes; the file has {len(content) - 8}, at most {LARGEST_HEADER} are read")
    text = content[8 : 8 + length]
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
    return header, content[8 + length :]


def _tensors(path: Any, header: dict[str, Any], body: bytes, checked: bool) -> dict[str, Any]:
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    tensors: dict[str, Any] = {}
    places: list[tuple[int, int, str]] = []
    for name, entry in entries.items():
        if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
            raise FileError(f"{path}: tensor {name!r}: dtype, shape and data_offsets are wanted")
        shape, offsets = entry["shape"], entry["data_offsets"]
        if entry["dtype"] not in DTYPES if isinstance(entry["dtype"], str) else True:
            raise FileError(f"{path}: tensor {name!r} has dtype {entry['dtype']!r}; known: {', '.join(DTYPES)}")
        if not isinstance(shape, list) or len(shape) > MOST_AXES or not all(map(_is_size, shape)):
            raise FileError(f"{path}: tensor {name!r}: its shape is not a list of at most {MOST_AXES} sizes")
        if not isinstance(offsets, list) or len(offsets) != 2 or not all(map(_is_size, offsets)):
            raise FileError(f"{path}: tensor {name!r}: its offsets are not two sizes")
        item = host.dtype(DTYPES[entry["dtype"]]).itemsize
        if math.prod(n for n in shape if n) * item >= 1 << 62:
            raise FileError(f"{path}: tensor {name!r}: shape {shape} is larger than any memory")
        if offsets[1] - offsets[0] != math.prod(shape) * item:
            raise FileError(f"{path}: tensor {name!r}: {offsets[1] - offsets[0]} bytes for shape {shape}, expected {math.prod(shape) * item}")
        places.append((offsets[0], offsets[1], name))
    end = 0
    for first, last, name in sorted(places):
        if first != end:
            raise FileError(f"{path}: tensor {name!r} begins at byte {first}, expected {end}: tensors must cover the file without holes")
        end = last
    if end != len(body):
        raise FileError(f"{path}: the tensors take {end} bytes, the file has {len(body)}")
    for first, last, name in places:
        if checked:
            crc, expected = f"{zlib.crc32(body[first:last]):08x}", header["__metadata__"].get(f"crc32:{name}")
            if crc != expected:
                raise FileError(f"{path}: tensor {name!r} is damaged: its checksum is {crc}, expected {expected}")
        dtype = host.dtype(DTYPES[entries[name]["dtype"]])
        x = host.frombuffer(bytearray(body[first:last]), dtype=dtype.newbyteorder("<"))
        if dtype.name == "bool" and x.size and x.view("uint8").max() > 1:
            raise FileError(f"{path}: tensor {name!r}: a boolean is 0 or 1")
        tensors[name] = x.reshape(entries[name]["shape"]).astype(dtype, copy=False)
    return tensors


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
