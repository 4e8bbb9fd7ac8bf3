"""What another process does in the tests of the store; says a line when it is ready.

child.py open PATH...            open each file with its tables, one after another
child.py hold PATH BYTE          hold a byte of the lock file until standard input ends
child.py hold-and-fork PATH BYTE the same, with a forked child that outlives it
child.py ask PATH BYTE           say whether a byte is held
child.py lock PATH               hold a write transaction until standard input says something
child.py write PATH              commit until standard input ends; say how often
"""

import os
import sys
import threading

from durable._store.connection import connect, real_path
from durable._store.locks import lock_file
from durable._store.store import Store
from durable._store.writer import Change, Writer


def say(word):
    os.write(1, f"{word}\n".encode())  # At once: a forked child says its lines at the same time.


def ignore(*_):
    pass


def open_store(path):
    return Store(path, durability="normal", deliver=ignore, on_foreign_commit=ignore)


def write(path):
    locks = lock_file(real_path(path))
    locks.open()
    writer = Writer(real_path(path), "full", ignore, ignore, locks)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    say("ready")
    commits, row = 0, (1, "cancel", "{}", 1)
    while not ended.is_set():
        run, kind, payload, at_us = row
        values = {
            "run": run, "kind": kind, "name": "", "key": "", "payload": payload, "at_us": at_us,
        }  # fmt: skip
        writer.commit_now(Change(operation=lambda t, v=values: t.one("insert_inbox", **v)))
        commits += 1
    say(commits)


def main():
    verb, path = sys.argv[1:3]
    match verb:
        case "open":
            say("ready")
            for one in [path, *sys.argv[3:]]:
                open_store(one).close()
        case "turn":
            locks = lock_file(path)
            locks.open()
            say(locks.take_turn())
            sys.stdin.read()
            say(locks.take_turn())
        case "dead":
            store = open_store(path)
            say([one.id for one in store.dead_workers()])
            sys.stdin.read()
            store.locks._made_s = None  # As some seconds later.
            say([one.id for one in store.dead_workers()])
        case "hold" | "hold-and-fork":
            locks = lock_file(path)
            locks.open()
            held = locks.hold(int(sys.argv[3]))
            if verb == "hold-and-fork" and os.fork() == 0:
                # The child knows that its parent lives, holds nothing, and must not say it does.
                say(f"child {locks.is_held(int(sys.argv[3]))}")
                sys.stdin.read()
                os._exit(0)
            say(f"held {held}")
            sys.stdin.read()
        case "ask":
            locks = lock_file(path)
            locks.open()
            say(locks.is_held(int(sys.argv[3])))
        case "lock":
            connection = connect(real_path(path))
            connection.execute("BEGIN IMMEDIATE")
            say("ready")
            sys.stdin.readline()
            connection.execute("COMMIT")
            say("done")
        case "write":
            write(path)


if __name__ == "__main__":
    main()
