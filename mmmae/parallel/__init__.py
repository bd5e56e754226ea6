"""Several processes as one run: who does what, who died, and sums over all of them."""
