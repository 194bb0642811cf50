"""From bytes to `Reading`: codec, USB bridge, transport, driver, and the battery model."""
