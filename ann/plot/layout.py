"""Where the boxes of a graph stand: in rows, sources above, edges straight where they can be. Sizes are in inches."""

from __future__ import annotations

from ann.plot.flow import Box

GAP, LANE, LINE = 0.35, 0.22, 0.19  # between boxes, of an edge that passes by, of a line of text


def layout(boxes: list[Box], edges: list[tuple[int, int]]) -> tuple[list[list[Box]], list[list[Box]]]:
    """(rows, wires): the boxes row by row, each with its x, and each edge as the boxes and lanes it passes.

    Sugiyama's method: an edge over several rows gets a lane in each; then, row by row down and up, each is ordered by the
    mean place of the neighbours of its boxes, and they stand as near to it as the row allows.
    """
    for box in boxes:
        box.width = max(0.073 * max(map(len, box.lines)) + 0.3, 1.2)
        box.height = LINE * len(box.lines) + 0.12
    ranks = _ranks(boxes, edges)
    rows: list[list[Box]] = [[] for _ in range(max(ranks) + 1)]
    for box, rank in zip(boxes, ranks, strict=True):
        rows[rank].append(box)
    wires = []
    for a, b in edges:
        lanes = [Box([], kind="lane", width=LANE) for _ in range(ranks[a] + 1, ranks[b])]
        for rank, lane in enumerate(lanes, ranks[a] + 1):
            lane.height = max(box.height for box in rows[rank])
            rows[rank].append(lane)
        wires.append([boxes[a], *lanes, boxes[b]])
    above: dict[int, list[Box]] = {}
    below: dict[int, list[Box]] = {}
    for wire in wires:
        for one, other in zip(wire, wire[1:], strict=False):
            below.setdefault(id(one), []).append(other)
            above.setdefault(id(other), []).append(one)

    def mean(box: Box, side: dict[int, list[Box]]) -> float:
        near = side.get(id(box), [])
        near = [other for other in near if other.lines] or near  # lanes give way to boxes
        return sum(other.x for other in near) / len(near) if near else box.x

    for sweep in range(9):  # down, up, …, down
        for row in reversed(rows) if sweep % 2 else rows:
            wanted = {id(box): mean(box, below if sweep % 2 else above) for box in row}
            row.sort(key=lambda box: wanted[id(box)])
            _place(row, wanted)
    for wire in wires:
        _straighten(wire[1:-1], rows)
    return rows, wires


def _straighten(lanes: list[Box], rows: list[list[Box]]) -> None:
    """One x for all lanes of an edge, the rightmost or the leftmost, where nothing else stands there."""
    others = [box for row in rows if any(lane in row for lane in lanes) for box in row if box not in lanes]
    for outermost in (max, min):
        x = outermost((lane.x for lane in lanes), default=0.0)
        if all(abs(box.x - x) >= (box.width + LANE) / 2 for box in others):
            for lane in lanes:
                lane.x = x
            return


def _place(row: list[Box], wanted: dict[int, float]) -> None:
    """x for each box of a row in its order: least Σ weight·(x − wanted)², no two nearer than a gap.

    Less the room that those before take, the places must rise: isotonic regression, by pooling neighbours that violate.
    """
    room, offsets = 0.0, []
    for i, box in enumerate(row):
        if i:
            room += (row[i - 1].width + box.width) / 2 + GAP
        offsets.append(room)
    pools: list[list[float]] = []  # [weighted mean, weight, number of boxes]
    for box, offset in zip(row, offsets, strict=True):
        pools.append([wanted[id(box)] - offset, 1000.0 if box.lines else 1.0, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (x, w, n), (u, v, m) = pools.pop(), pools.pop()
            pools.append([(x * w + u * v) / (w + v), w + v, n + m])
    places = [pool[0] for pool in pools for _ in range(int(pool[2]))]
    for box, offset, place in zip(row, offsets, places, strict=True):
        box.x = place + offset


def _ranks(boxes: list[Box], edges: list[tuple[int, int]]) -> list[int]:
    """The row of each box: one below the lowest of its sources; the boxes come in the order of their calls, sources first."""
    ranks = [0] * len(boxes)
    for i in range(len(boxes)):
        ranks[i] = max((ranks[a] + 1 for a, b in edges if b == i), default=0)
    last = max(ranks)
    return [last if box.kind == "end" and any(b == i for _, b in edges) else rank for i, (box, rank) in enumerate(zip(boxes, ranks, strict=True))]
