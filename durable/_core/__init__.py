"""The deterministic core: events in, commands out. No file, clock, thread or socket in here.

Theory of operation. A workflow is a coroutine that our own event loop (`loop`) drives like a
generator. `driver.Driver` feeds it one recorded fact (`events.Event`) at a time and lets the loop
run until nothing is ready: a *drain*. What the code asked for in that drain comes back as commands.
Whoever drives the core stores the event first, then performs the commands. Feeding the same events
to the same code again asks for the same commands, in any process, on any supported Python: that is
the whole trick, and each trap on the way to it is named where it is closed.
"""
