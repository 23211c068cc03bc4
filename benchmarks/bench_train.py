"""Training: forward, backward and optimizer step. Compute-bound; memory holds every activation."""


def bench_train(case, cell):
    cell(case)
