"""Signals that a workflow of another module names as an attribute of this one."""

from durable import Signal

far = Signal("far", int)
