"""A stream of documents, cut into lanes: one for each sequence of a batch.

Lane r of a batch of B reads documents r, r + B, r + 2B, … one behind another, and gives every batch
its next T tokens. What a lane reads is the same whoever reads the others, so ranks that share the
lanes train on the batches that one process would, and tokenize only their own.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice, repeat

import torch
from torch import Tensor


@dataclass
class Lane:
    document: int  # its number, from 0 at the first of the stream
    taken: int  # tokens of it that were given already
    ahead: deque[Tensor] = field(default_factory=deque)  # its tokens, and of documents after it

    def tokens(self) -> int:
        """How many there are ahead."""
        return sum(map(len, self.ahead)) - self.taken

    def take(self, count: int, step: int) -> Tensor:
        """The next `count` tokens and the one after, which is the first the next time.

        `step` is how far the lane's documents are apart.
        """
        parts, skip, need = [], self.taken, count + 1
        for tokens in self.ahead:
            parts.append(tokens[skip : skip + need])
            skip, need = 0, need - len(parts[-1])
            if not need:
                break
        self.taken += count
        while len(self.ahead[0]) <= self.taken:
            self.taken -= len(self.ahead.popleft())
            self.document += step
        return torch.cat(parts)


class Lanes:
    """Those numbered `mine`, of a batch of `batch`. `documents()` begins the stream anew; where it
    ends it is begun anew, so that a budget may be larger than the text."""

    def __init__(
        self,
        documents: Callable[[], Iterator[bytes]],
        encode: Callable[[bytes], Tensor],
        mine: Sequence[int],
        batch: int,
    ) -> None:
        self.documents, self.encode, self.batch = documents, encode, batch
        self.go_to(torch.tensor([[lane, 0] for lane in mine]))

    def go_to(self, places_L2: Tensor) -> None:
        """Document and token in it that each lane gives next, as `places()` said.

        The documents before the first of them are read, but not tokenized.
        """
        self.lanes = [Lane(document, taken) for document, taken in places_L2.tolist()]
        self.by_number = {lane.document % self.batch: lane for lane in self.lanes}
        begin = min(lane.document for lane in self.lanes)
        endless = chain.from_iterable(again() for again in repeat(self.documents))
        self.rest = islice(enumerate(endless), begin, None)

    def places(self) -> Tensor:
        return torch.tensor([[lane.document, lane.taken] for lane in self.lanes])

    def take(self, count: int) -> Tensor:
        """(lanes, count + 1) tokens, int64: `count` to read and, one later, `count` to predict."""
        while min(lane.tokens() for lane in self.lanes) <= count:
            number, text = next(self.rest)
            lane = self.by_number.get(number % self.batch)
            if lane is not None and number >= lane.document:
                lane.ahead.append(self.encode(text))
        taken = [lane.take(count, self.batch) for lane in self.lanes]
        return torch.stack(taken).to(torch.int64)
