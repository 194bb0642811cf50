"""Whole outages in virtual time: the daemon's own decisions, plans and journal against a world that knows better."""
