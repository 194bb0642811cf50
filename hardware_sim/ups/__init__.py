"""A Riello UPS as software: battery, state machine, GPSER or SENTR, serial line and USB bridge.

From the inside out: `battery` (physics), `outlets` (the switch and its timers), `device` (the UPS) and
`measurements` (what it measures of each phase); `frames` and `reports` (the words of GPSER) and `responder` (what it
answers); `sentr`, `sentr_codes`, `sentr_memory` and `sentr_responder` (the same for SENTR); `line` (a baud rate).
`profiles` has the models, `faults` what goes wrong.

The cables: `pty` (a serial port); `bridge`, `descriptors` and `transfers` (the USB device), which `ports` and `server`
offer to a pyusb backend and `usbip` to a Linux kernel.

The program `python -m hardware_sim ups`: `command_line` and `program`; `rig` with `actions` and `arguments` (what can
be done to the UPS), which `control` (HTTP) and `scenario` do, `recording` writes down and `narrator` tells.

Nothing here shares code with the daemon's own codecs, so that each can catch the other's mistakes.
"""
