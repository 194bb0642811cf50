"""`upsctl`: what a person types to see what upsd does.

It talks JSON lines on the daemon's socket and shares nothing else with it. It must be there at once, so its
modules import little: no dataclasses, no typing at run time, no asyncio.
"""
