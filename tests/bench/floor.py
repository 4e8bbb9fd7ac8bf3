"""The bare floor: group commit with apsw and bare asyncio tasks, and no features.

What any embedded engine pays that keeps each step's result before it goes on: a task for the step,
a row, a share of an fsync. No history, no checks, no retries, no replay: only the cost underneath.
With ``tasks=False`` a step is a plain call inside its run: what no engine that isolates, limits or
cancels activities can be, printed beside it to keep the floor honest.
"""

import asyncio
import queue
import threading

import apsw

SIZES = (250, 50, 8, 1)


class Floor:
    def __init__(self, path, synchronous=2):
        self.loop = asyncio.get_running_loop()
        self.connection = apsw.Connection(str(path))
        self.connection.pragma("journal_mode", "wal")
        self.connection.pragma("synchronous", synchronous)
        self.connection.wal_autocheckpoint(0)
        self.connection.execute(
            "CREATE TABLE IF NOT EXISTS step (run INTEGER, seq INTEGER, result TEXT, "
            "PRIMARY KEY (run, seq)) WITHOUT ROWID"
        )
        self.statements = {n: "INSERT INTO step VALUES " + ",".join(["(?,?,?)"] * n) for n in SIZES}
        self.queue = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.write, daemon=True)
        self.thread.start()

    def write(self):
        execute = self.connection.execute
        while True:
            item = self.queue.get()
            batch = []
            while item is not None:
                batch.append(item)
                try:
                    item = self.queue.get_nowait()
                except queue.Empty:
                    break
            else:
                return
            execute("BEGIN IMMEDIATE")
            start, count = 0, len(batch)
            for size in SIZES:
                while count - start >= size:
                    part = batch[start : start + size]
                    execute(self.statements[size], [v for row, _ in part for v in row])
                    start += size
            execute("COMMIT")
            self.loop.call_soon_threadsafe(self.resolve, batch)

    @staticmethod
    def resolve(batch):
        for _, future in batch:
            future.set_result(None)

    async def commit(self, row):
        future = self.loop.create_future()
        self.queue.put((row, future))
        await future

    def close(self):
        self.queue.put(None)
        self.thread.join()
        self.connection.close()


async def tiny(number):
    return number + 1


async def floor_run(floor, run, steps, tasks):
    value = 0
    for seq in range(steps):
        value = await (floor.loop.create_task(tiny(value)) if tasks else tiny(value))
        await floor.commit((run, seq, str(value)))
    return value


async def many_runs(path, runs, steps, tasks=True):
    """Return seconds for `runs` tasks of `steps` committed steps each."""
    floor = Floor(path)
    started = floor.loop.time()
    await asyncio.gather(*(floor_run(floor, run, steps, tasks) for run in range(runs)))
    took = floor.loop.time() - started
    floor.close()
    return took


class TransactionFloor(Floor):
    """The floor of steps that change a table of the user's in the transaction that keeps them."""

    def write(self):
        execute = self.connection.execute
        execute("CREATE TABLE IF NOT EXISTS stock (n INTEGER)")
        while True:
            item = self.queue.get()
            batch = []
            while item is not None:
                batch.append(item)
                try:
                    item = self.queue.get_nowait()
                except queue.Empty:
                    break
            else:
                return
            execute("BEGIN IMMEDIATE")
            for row, _ in batch:  # The user's statement is theirs: one by one.
                execute("INSERT INTO stock VALUES (?)", (row[1],))
                execute(self.statements[1], row)
            execute("COMMIT")
            self.loop.call_soon_threadsafe(self.resolve, batch)


async def many_transactions(path, runs, each):
    """Return seconds for `runs` tasks of `each` changes of the user's table with their results."""
    floor = TransactionFloor(path)
    started = floor.loop.time()

    async def sell(run):
        for seq in range(each):
            await floor.commit((run, seq, str(seq)))

    await asyncio.gather(*(sell(run) for run in range(runs)))
    took = floor.loop.time() - started
    floor.close()
    return took


def sequential_commits(path, count, synchronous=2):
    """Return seconds for `count` commits of one row, one after the other, on this thread."""
    import time

    connection = apsw.Connection(str(path))
    connection.pragma("journal_mode", "wal")
    connection.pragma("synchronous", synchronous)
    connection.wal_autocheckpoint(0)
    connection.execute("CREATE TABLE step (run INTEGER, seq INTEGER, result TEXT)")
    started = time.perf_counter()
    for number in range(count):
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO step VALUES (1, ?, 'x')", (number,))
        connection.execute("COMMIT")
    took = time.perf_counter() - started
    connection.close()
    return took
