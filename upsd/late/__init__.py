"""The last program that runs on this machine: it sees that the UPS will cycle its outlets, or tells it once more."""
