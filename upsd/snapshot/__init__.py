"""A snapshot of the k3s datastore, taken by root: a program of its own, which `upsd-snapshot@.service` runs."""
