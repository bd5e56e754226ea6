"""Several processes as one run: ranks, failures and hangs, reductions."""
