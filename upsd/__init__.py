"""upsd: the power daemon of a small k3s rack on a Riello UPS."""

__version__ = "0.1.0"
