"""Prefill: read a prompt into fresh state, score its next token. Compute-bound; time to first token."""


def bench_prefill(case, cell):
    cell(case)
