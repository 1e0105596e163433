"""Bin packing by exhaustion, for the few items on which a heuristic gives up."""

from __future__ import annotations

from collections.abc import Sequence

_PART = 16


class Search:
    """Depth-first search with an allowance of nodes, so that it ends, and ends the same everywhere.

    A problem may use a part of what the others left.

    Bins with the same room are tried once, and an item that fills a bin is tried nowhere else (Martello and Toth 1990,
    Knapsack Problems, ch. 8).
    """

    def __init__(self, nodes: int) -> None:
        """Starts with an allowance, shared by all calls."""
        self.nodes = nodes
        self._until = 0

    def pack(self, tokens_K: Sequence[int], bins: int, cap: int) -> list[int] | None:
        """Returns the bin of every item; None when there is no packing, or none was found with what is left.

        Args:
          tokens_K: sizes, descending, above 0.
          bins: how many there are.
          cap: what a bin holds.
        """
        slack = bins * cap - sum(tokens_K)
        chosen: list[int] = []
        self._until = self.nodes - self.nodes // _PART
        return chosen if slack >= 0 and self._place(tokens_K, [cap] * bins, slack, chosen) else None

    def _place(self, tokens_K: Sequence[int], room_M: list[int], slack: int, chosen: list[int]) -> bool:
        if len(chosen) == len(tokens_K):
            return True
        self.nodes -= 1
        size = tokens_K[len(chosen)]
        # What no remaining item can use is lost.
        if self.nodes <= self._until or sum(room for room in room_M if room < tokens_K[-1]) > slack:
            return False
        seen: set[int] = set()
        for index in sorted(range(len(room_M)), key=room_M.__getitem__):
            room = room_M[index]
            if room < size or room in seen:
                continue
            seen.add(room)
            room_M[index] -= size
            chosen.append(index)
            if self._place(tokens_K, room_M, slack, chosen):
                return True
            chosen.pop()
            room_M[index] += size
            if room == size:
                return False
        return False
