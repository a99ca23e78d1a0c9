"""Where a topology runs. Each fabric starts switch and workers, and ends them."""
