"""What the tests of the native lowering share: kernels called on NumPy arrays whose memory ends at a page that must not be touched."""

import ctypes
import mmap

import numpy as np

from backends.native.compile import addresses

PAGE = mmap.PAGESIZE
_kept = []  # mappings live as long as the process: arrays point into them


def guarded(array):
    """A copy whose last byte is followed by memory that may be neither read nor written."""
    array = np.ascontiguousarray(array)
    room = -(-max(array.nbytes, 1) // PAGE) * PAGE
    memory = mmap.mmap(-1, room + PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    assert mprotect(ctypes.c_void_p(start + room), ctypes.c_size_t(PAGE), 0) == 0
    _kept.append(memory)
    copy = np.frombuffer(memory, array.dtype, array.size, room - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy


def call(kernel, words):
    """Run a kernel with this argument table."""
    table = np.array(words, np.int64)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(addresses([kernel])[0])(table.ctypes.data)


def run_loop(loop, arrays, sizes, indexed=None):
    """Run a Loop on arrays that are broadcast to `sizes` by steps of 0. indexed: {operand: axis along which its index counts}. Returns the flag."""
    flag = np.zeros(1, np.uint8)
    words, _scratch = loop_words(loop, arrays, sizes, indexed, flag)
    call(loop, words)
    return bool(flag[0])


def loop_words(loop, arrays, sizes, indexed=None, flag=None):
    """(the argument table of a Loop, scratch rows that it points to)"""
    scratch, words = [], []
    for key in loop.words:
        what, k, *axis = key if key != "flag" else ("flag", 0)
        if what == "pointer":
            words.append(arrays[k].ctypes.data)
        elif what == "size":
            words.append(sizes[k])
        elif what == "stride":
            words.append(arrays[k].strides[axis[0]] // arrays[k].itemsize)
        elif what == "index stride":
            words.append(arrays[k].strides[indexed[k]] // arrays[k].itemsize)
        elif what == "index size":
            words.append(arrays[k].shape[indexed[k]])
        elif what == "flag":
            words.append(flag.ctypes.data)
        else:
            scratch.append(guarded(np.empty(sizes[-1], loop.nodes[k][1])))
            words.append(scratch[-1].ctypes.data)
    return words, scratch
