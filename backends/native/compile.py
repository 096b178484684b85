"""From a description of a kernel to the address of its machine code: compiled once, kept for the process and on disk.

A kernel is a hashable description with a `repr` that says all, and `function(name)`, which writes its IR (emit.py). Every kernel
is void k(int64_t* arguments): what differs between calls (pointers, sizes, strides, functions of the BLAS) stands in the table it is given,
so that object code holds no address and serves any shape.

On disk: $ANN_NATIVE_CACHE, else $XDG_CACHE_HOME/ann/native, else ~/.cache/ann/native; ANN_NATIVE_CACHE=off keeps nothing. Each file is
named by a hash of everything its code depends on, and begins with a hash of the rest. Only a folder that belongs to the user and is open to
nobody else is used, for what it holds is run.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.resources
import os
import platform
import stat
import threading
from collections.abc import Iterable
from typing import Any, Protocol

from backends.native import emit

ENTRIES = 4096  # files kept on disk; beyond, the older half is removed


class Kernel(Protocol):
    def function(self, name: str) -> emit.Function: ...


_addresses: dict[Any, int] = {}
_lock = threading.Lock()


def addresses(kernels: Iterable[Kernel]) -> list[int]:
    """The machine code of these kernels. What has been loaded is never freed, for a thread may be running it."""
    kernels = list(kernels)
    missing = [kernel for kernel in dict.fromkeys(kernels) if kernel not in _addresses]
    if missing:
        with _lock:
            _load([kernel for kernel in missing if kernel not in _addresses])
    return [_addresses[kernel] for kernel in kernels]


def _load(kernels: list[Kernel]) -> None:
    from llvmlite import binding as llvm

    engine, folder = _engine(), Folder.open()
    names = {}
    try:
        for kernel in kernels:
            key = hashlib.sha256(f"{identity()}\n{kernel!r}".encode()).hexdigest()
            names[kernel] = f"k{key[:24]}"
            code = folder.read(key)
            if code is None:
                code = object_code(emit.module([kernel.function(names[kernel])]))
                folder.write(key, code)
            engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
    finally:
        folder.close()
    for kernel, name in names.items():
        _addresses[kernel] = engine.get_function_address(name)


def object_code(text: str) -> bytes:
    """LLVM IR → an object file for this processor."""
    from llvmlite import binding as llvm

    machine = _machine()
    module = llvm.parse_assembly(text)
    module.triple = llvm.get_process_triple()
    module.data_layout = str(machine.target_data)
    module.verify()
    passes = llvm.create_new_module_pass_manager()  # kernels are written as vectors: what remains is to tidy them
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_loop_rotate_pass()
    passes.add_simplify_cfg_pass()
    passes.add_new_gvn_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))
    return machine.emit_object(module)  # type: ignore[no-any-return]


@functools.cache
def _machine() -> Any:
    return _new_machine()


def _new_machine() -> Any:
    from llvmlite import binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(cpu=llvm.get_host_cpu_name(), features=features(), opt=2, reloc="static", codemodel="large", jit=True)


@functools.cache
def _engine() -> Any:
    from llvmlite import binding as llvm

    return llvm.create_mcjit_compiler(llvm.parse_assembly(""), _new_machine())  # the engine owns its machine


@functools.cache
def features() -> str:
    from llvmlite import binding as llvm

    return llvm.get_host_cpu_features().flatten()  # type: ignore[no-any-return]


@functools.cache
def lanes() -> int:
    """How many float32 a vector register holds."""
    return 16 if "+avx512f" in features() else 8 if "+avx2" in features() else 4


@functools.cache
def registers() -> int:
    """How many vector registers there are."""
    return 32 if "+avx512f" in features() or platform.machine().lower() in ("aarch64", "arm64") else 16


@functools.cache
def identity() -> str:
    """What object code depends on besides its kernel: compiler, processor, and the text of this folder."""
    import llvmlite
    from llvmlite import binding as llvm

    return "\n".join([llvmlite.__version__, str(llvm.llvm_version_info), llvm.get_process_triple(), llvm.get_host_cpu_name(), features(), SOURCES])


def _sources() -> str:
    """A hash of the text of this folder."""
    parts = sorted((part for part in importlib.resources.files("backends.native").iterdir() if part.name.endswith(".py")), key=lambda part: part.name)
    return hashlib.sha256(b"\0".join(part.read_bytes() for part in parts)).hexdigest()


def _state() -> Any:
    """What differs when a file of this folder does, at a tenth of the cost; None where it is not one of the file system."""
    try:
        found = [(entry.name, entry.stat()) for entry in os.scandir(os.path.dirname(__file__)) if entry.name.endswith(".py")]
    except OSError:
        return None
    return sorted((name, state.st_ino, state.st_ctime_ns, state.st_size) for name, state in found)


STATE, SOURCES = _state(), _sources()  # of what was imported


class Folder:
    """The cache on disk; with no descriptor it holds nothing."""

    def __init__(self, descriptor: int | None, reason: str = ""):
        self.descriptor, self.reason = descriptor, reason
        self.files: int | None = None  # in it, where they were counted

    @classmethod
    def open(cls) -> Folder:
        """The folder, made if need be, if it is the user's own and closed to others."""
        asked = os.environ.get("ANN_NATIVE_CACHE", "")
        if asked == "off" or os.name != "posix":
            return cls(None, "ANN_NATIVE_CACHE=off" if asked else "no private folders on this system")
        if (STATE is None or _state() != STATE) and _sources() != SOURCES:  # its kernels are not those of the modules imported, and would be taken for them
            return cls(None, "the files of backends/native have changed since they were imported")
        path = asked or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "ann", "native")
        try:
            os.makedirs(path, mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError as error:
            return cls(None, f"{path}: {error.strerror}")
        state = os.fstat(descriptor)
        if state.st_uid != os.geteuid() or stat.S_IMODE(state.st_mode) & 0o077:
            os.close(descriptor)
            return cls(None, f"{path} belongs to another user or is open to others; chmod 700 closes it")
        return cls(descriptor)

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)

    def read(self, key: str) -> bytes | None:
        """The entry; None where it is missing, or broken and therefore removed."""
        if self.descriptor is None:
            return None
        try:
            with open(os.open(key, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self.descriptor), "rb") as file:
                digest, code = file.read(32), file.read()
            if hashlib.sha256(code).digest() == digest:
                return code
            os.unlink(key, dir_fd=self.descriptor)
        except OSError:
            pass
        return None

    def write(self, key: str, code: bytes) -> None:
        """The entry appears whole or not at all; a full or read-only disk keeps nothing."""
        if self.descriptor is None:
            return
        part = f"{key}.{os.getpid()}.{threading.get_ident()}"
        try:
            with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=self.descriptor), "wb") as file:
                file.write(hashlib.sha256(code).digest() + code)
            os.rename(part, key, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
            self.prune()
        except OSError:
            try:
                os.unlink(part, dir_fd=self.descriptor)
            except OSError:
                pass

    def prune(self) -> None:
        self.files = len(os.listdir(self.descriptor)) if self.files is None else self.files + 1
        if self.files > ENTRIES:
            names, self.files = os.listdir(self.descriptor), None
            age = {name: os.stat(name, dir_fd=self.descriptor, follow_symlinks=False).st_mtime for name in names}
            for name in sorted(names, key=age.__getitem__)[: len(names) // 2]:
                os.unlink(name, dir_fd=self.descriptor)


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
