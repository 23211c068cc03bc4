"""Decode: one token after a context. Bound by reading weights and state, or by launches when small."""


def bench_decode(case, cell):
    cell(case)
