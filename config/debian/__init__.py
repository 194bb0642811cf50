"""Builds the Debian package: `make deb`, or `python -m debian` in `config/`. docs/debian.md says why it is as it is."""
