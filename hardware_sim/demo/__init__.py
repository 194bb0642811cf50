"""One outage before your eyes: `make demo`."""
