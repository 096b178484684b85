"""Lines of the source: a call over named values; runs of lines that treat the rows of large arrays alike, in blocks of rows."""

from __future__ import annotations

from typing import Any

Array = Any
CHUNK = 1 << 15  # entries of one operand in a block of rows
CONSTANT = -(1 << 40)  # the root of what is never written


class Value:
    """How the source names a value. sample: an array of its shape, dtype and strides, to ask which views are possible.

    root: the value whose memory it is; home: the memory, which several values have one after the other; start: where in it, in bytes.
    """

    __slots__ = ("home", "local", "name", "root", "sample", "start")

    def __init__(self, name: str, sample: Array, root: int, local: bool, home: Any = None, start: int = 0):
        self.name, self.sample, self.root, self.local, self.start = name, sample, root, local, start
        self.home = root if home is None else home

    def same(self, other: Value) -> bool:
        """Whether both are the same entries of the same memory."""
        a, b = self.sample, other.sample
        return bool(self.root == other.root and (self.start, a.shape, a.strides, a.dtype) == (other.start, b.shape, b.strides, b.dtype))


class Line:
    """One call of the source: a template over the names of what it writes and reads.

    rows: the leading size, where it treats the rows of its operands alike, else 0. Operands that have these rows as their
    leading axis may then be replaced by blocks of them; the others are broadcast along it.
    """

    __slots__ = ("optional", "reads", "rowed", "rows", "template", "writes")

    def __init__(self, template: str, writes: list[Value], reads: list[Value], rows: int = 0, optional: bool = False):
        self.template, self.writes, self.reads, self.rows, self.optional = template, writes, reads, rows, optional
        axes = max((v.sample.ndim for v in (*writes, *reads)), default=0)
        reduced = bool(writes) and writes[0].sample.ndim < axes
        self.rowed = [rows > 0 and v.sample.shape[:1] == (rows,) and (v.sample.ndim == axes or (reduced and v is writes[0])) for v in (*writes, *reads)]

    def text(self, names: dict[str, str] | None = None) -> str:
        values = (*self.writes, *self.reads)
        return self.template.format(*(names[v.name] if names and rowed else v.name for v, rowed in zip(values, self.rowed, strict=True)))

    def width(self) -> int:
        """Entries of its largest operand."""
        return max((v.sample.size for v in (*self.writes, *self.reads)), default=0)

    def uses(self) -> list[tuple[Value, bool]]:
        return list(zip((*self.writes, *self.reads), self.rowed, strict=True))


def blocks(lines: list[Line], given: set[Any]) -> tuple[list[str], list[str], int]:
    """(what make prepares, what run does, how much of it comes before the first line that writes into the homes given)

    Runs of lines that treat the rows of large arrays alike stand in a loop over blocks of rows, which stay in the cache.
    """
    head: list[str] = []
    text: list[str] = []
    spared: int | None = None
    k = 0
    while k < len(lines):
        n = run_of_rows(lines, k)
        if spared is None and any(v.home in given for line in lines[k : k + max(n, 1)] for v in line.writes):
            spared = len(text)
        text += loop(lines[k : k + n], head) if n else [lines[k].text()]
        k += max(n, 1)
    return head, text, len(text) if spared is None else spared


def run_of_rows(lines: list[Line], k: int) -> int:
    """How many lines from k on make one block: at least two, alike in rows and in width, on arrays of more than two chunks; else 0."""
    n = lines[k].rows
    if n < 2:
        return 0
    end, width = k, lines[k].width()
    while end < len(lines) and lines[end].rows == n and width // 2 <= lines[end].width() <= 2 * width and not crosses(lines[k:end], lines[end]):
        end += 1
    return end - k if end - k >= 2 and width > 2 * CHUNK else 0


def crosses(block: list[Line], line: Line) -> bool:
    """Whether a line cannot join the block: in memory that one of its lines writes another, or it itself, does not have the same rows."""

    def clash(written: tuple[Value, bool], other: tuple[Value, bool]) -> bool:
        (w, rowed), (v, also) = written, other
        return bool(w.home == v.home and not (rowed and also and within(w) == within(v) is not None))

    mine = line.uses()
    before = [use for earlier in block for use in earlier.uses()]
    written = [use for earlier in block for use in earlier.uses()[: len(earlier.writes)]]
    return any(clash(w, use) for w in mine[: len(line.writes)] for use in (*before, *mine)) or any(clash(w, use) for w in written for use in mine)


def within(v: Value) -> tuple[int, int] | None:
    """(bytes from row to row of the memory, the row in which the value's first lies), if each of its rows lies in one of these."""
    across, *strides = v.sample.strides
    extent = sum((n - 1) * s for n, s in zip(v.sample.shape[1:], strides, strict=True)) + v.sample.itemsize
    fits = across > 0 and min(strides, default=0) >= 0 and v.start % across + extent <= across
    return (across, v.start // across) if fits else None


def loop(lines: list[Line], head: list[str]) -> list[str]:
    n = lines[0].rows
    rowed = list({v.name: v for line in lines for v, yes in line.uses() if yes}.values())
    step = max(1, CHUNK // max(1, max(v.sample.size for v in rowed) // n))
    names = {v.name: f"r_{v.name}" for v in rowed}
    ends = f"e{len(head)}"
    planned = [v for v in rowed if not v.local]
    parts = "".join(f", {v.name}[i:i + {step}]" for v in planned)
    head.append(f"{ends} = [(i, i + {step}{parts}) for i in range(0, {n}, {step})]")
    text = [f"for i, j{''.join(', ' + names[v.name] for v in planned)} in {ends}:"]
    text += [f"    {names[v.name]} = {v.name}[i:j]" for v in rowed if v.local]
    return text + [f"    {line.text(names)}" for line in lines]
