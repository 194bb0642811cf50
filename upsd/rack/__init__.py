"""Adapters to the machines of the rack: the ways in which `upsd.domain.rack` meets the real world."""
