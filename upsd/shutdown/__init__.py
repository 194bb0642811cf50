"""From an event to a plan, and from a plan to machines that are off in order: plan, engine, journal, steps."""
