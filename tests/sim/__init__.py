"""Whole outages on virtual time, and what their tests share."""
