"""`python -m benchmarks catalogue`: every architecture's equations and costs, as Markdown.

Words are the docstring's of its file; numbers are counted from its shapes, nothing is measured.
"""

import argparse
import inspect
from itertools import pairwise

import torch

import archs
from archs._ops import every_op, noting_kernels
from archs._sizes import NAMED
from benchmarks import machine

SIZE = "124m"
LENGTHS = (1024, 65_536)
FEW = 8  # tokens, to see which ops run
PROBES = tuple(2**k for k in range(4, 15))  # lengths at which a state is weighed


def ops(arch: str) -> list[str]:
    """Those that carry something from one token to another, or count: all that a pass calls."""
    model = archs.build(arch, next(iter(NAMED)), max_len=FEW)
    with torch.no_grad(), noting_kernels() as ran:
        model.nll(torch.zeros(1, FEW, dtype=torch.long), torch.zeros(1, FEW, dtype=torch.long))
    return sorted(ran)


def state(arch: str) -> str:
    """Bytes a sequence in float32 over the tokens T it has read, as a formula."""
    if not archs.is_causal(arch):
        return "none: it reads a text at once"
    with torch.device("meta"):
        model = archs.build(arch, SIZE, max_len=max(PROBES))
        held = [machine.tensor_bytes(model.init_state(1, length)) for length in PROBES]
    rates = [
        (after - before) / (longer - length)
        for (before, after), (length, longer) in zip(pairwise(held), pairwise(PROBES), strict=True)
    ]
    if not any(rates):
        return f"{held[0]:,}, constant"
    fixed = held[0] - rates[0] * PROBES[0]
    grows = f"{fixed:,.0f} + {rates[0]:,.0f} T" if fixed else f"{rates[0]:,.0f} T"
    if rates[-1]:
        return grows
    # where the last stretch that still grew would have reached what it stays at
    return f"{grows}, up to T = {(held[-1] - fixed) / rates[0]:,.0f}"


def flops(arch: str) -> list[str]:
    """Forward FLOPs a token: of a text of each length, and of one token after as many."""
    with torch.device("meta"):
        model = archs.build(arch, SIZE, max_len=max(LENGTHS) + 1)
        whole = [model.forward_flops(length) for length in LENGTHS]
        causal = archs.is_causal(arch)
        single = [model.forward_flops(1, length) if causal else None for length in LENGTHS]
    return ["–" if count is None else f"{count / 1e6:,.0f} M" for count in (*whole, *single)]


def entry(arch: str) -> str:
    title, _, rest = inspect.cleandoc(archs.load(arch).__doc__ or "").partition("\n")
    said = "\n".join([f"### `{arch}`", "", title, "", *_paragraphs(rest)])
    kernels = [f"`{op}` ({', '.join(every_op()[op].kernels)})" for op in ops(arch)]
    read, reads, wrote, writes = flops(arch)
    facts = [
        f"- State at size {SIZE}, bytes a sequence in float32 after T tokens: {state(arch)}",
        f"- Forward FLOPs a token at size {SIZE}: in a text of {LENGTHS[0]:,} {read}, of "
        f"{LENGTHS[1]:,} {reads}; the next token after {LENGTHS[0]:,} {wrote}, after "
        f"{LENGTHS[1]:,} {writes}",
        f"- Ops and their kernels: {', '.join(kernels)}",
    ]
    return "\n".join([said, "", *facts, ""])


def _paragraphs(text: str) -> list[str]:
    """Indented lines are equations and stay as they are."""
    lines, fenced = list[str](), False
    for line in text.strip("\n").splitlines():
        equation = line.startswith("    ") or (fenced and not line)
        if equation != fenced:
            lines += ["```"] if not fenced else _closed(lines)
            fenced = equation
        lines.append(line.removeprefix("    ") if equation else line)
    return [*lines, "```"] if fenced else lines


def _closed(lines: list[str]) -> list[str]:
    """A fence after the last equation, ahead of the empty line that follows it."""
    if lines and not lines[-1]:
        lines.pop()
        return ["```", ""]
    return ["```"]


def markdown() -> str:
    return "\n".join([HEAD, *map(entry, archs.names())]).rstrip("\n") + "\n"


def run(options: argparse.Namespace) -> None:
    print(markdown(), end="")


def add_options(command: argparse.ArgumentParser) -> None:
    command.set_defaults(run=run)


HEAD = f"""# The architectures

Written by `python -m benchmarks catalogue`; `tests/test_catalogue.py` holds it to the code. Each is
one file in `archs/`, whose docstring stands here. Numbers are counted from shapes at size `{SIZE}`,
where non-embedding parameters are matched within 2 %; training takes three times the forward FLOPs.
`auto` takes the first kernel of an op that works (`python -m benchmarks doctor`); `plain` is the
one that the others are held to. A default sweep takes {", ".join(archs.usual())}; `--arch all`, or
a name, the others.
"""
