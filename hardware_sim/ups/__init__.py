"""A Riello iPlug as software: battery, state machine, GPSER frames, serial line and USB bridge.

From the inside out: `battery` (physics), `outlets` (the switch and its timers), `device` (the UPS),
`frames` and `reports` (its words), `responder` (what it answers), `line` (1200 baud), `bridge` (USB packets),
`ports` (how a pyusb backend reaches the bridge) and `server` (the same for another process). Nothing here
shares code with the daemon's own codec, so that each can catch the other's mistakes.
"""
