"""How fast and how small is the daemon, and how does NUT do beside it? See `docs/benchmarks.md`."""
