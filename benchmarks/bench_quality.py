"""Quality: train on real text to a token budget, then held-out loss at several context lengths."""


def bench_quality(case, cell):
    cell(case)
