"""The runtime: performs what workflows ask for. Only here do threads start and activities run.

`worker` owns runs and drives them, `runs` is one run in memory, `activities` performs attempts,
`timers` fires what is due, `ownership` takes over from dead workers, `inside` is what running code
finds in its context, `threads` runs plain functions, `logs` and `watchdog` keep people informed.
"""
