"""The rack and its UPS as software, for tests, the demo and whole outages that nobody has to sit through."""
