"""The rack as real machines: Debian guests with kernels, systemd and file systems of their own."""
