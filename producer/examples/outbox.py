"""A node in Python whose blocks Tipline replicates: it writes the outbox by plain INSERTs.

    python3 outbox.py node.db 10        # commits 10 blocks more

Beside it, `tipline primary --source sqlite:node.db` publishes what is in the outbox, while the
node runs or not. The log is made by `tipline init --chain toy --source sqlite:node.db`.
"""

import hashlib
import pathlib
import sqlite3
import sys

# The schema, and all there is to know: every kind of event, and what is refused.
SCHEMA = pathlib.Path(__file__).resolve().parent.parent / "docs" / "outbox.sql"
GENESIS = hashlib.sha256(b"toy genesis").digest()


def open_node(path):
    db = sqlite3.connect(path, timeout=5, isolation_level=None)
    # The publisher reads while the node writes.
    db.execute("PRAGMA journal_mode = WAL")
    # What is committed survives a power cut, and the outbox with it.
    db.execute("PRAGMA synchronous = FULL")
    db.executescript(SCHEMA.read_text())
    db.execute("INSERT OR IGNORE INTO tipline_outbox_state (genesis) VALUES (?)", (GENESIS,))
    # The node's own table.
    db.execute("CREATE TABLE IF NOT EXISTS block (height INTEGER PRIMARY KEY, hash, body, proof)")
    return db


def tip(db):
    row = db.execute("SELECT height, hash FROM block ORDER BY height DESC LIMIT 1").fetchone()
    return row or (0, GENESIS)


def commit_block(db, body):
    """The block and its event are in one transaction: both are there, or neither."""
    height, parent = tip(db)
    height, block_hash = height + 1, hashlib.sha256(parent + body).digest()
    with transaction(db):
        db.execute("INSERT INTO block VALUES (?, ?, ?, NULL)", (height, block_hash, body))
        db.execute(
            "INSERT INTO tipline_outbox (kind, height, hash, parent_hash, payload)"
            " VALUES ('block_committed', ?, ?, ?, ?)",
            (height, block_hash, parent, body),
        )
    return height


def prove_block(db, height, proof):
    """Some time later."""
    with transaction(db):
        db.execute("UPDATE block SET proof = ? WHERE height = ?", (proof, height))
        db.execute(
            "INSERT INTO tipline_outbox (kind, height, hash, payload)"
            " SELECT 'block_proven', height, hash, proof FROM block WHERE height = ?",
            (height,),
        )


def roll_back(db, height):
    """Blocks above this one are void."""
    with transaction(db):
        db.execute("DELETE FROM block WHERE height > ?", (height,))
        db.execute(
            "INSERT INTO tipline_outbox (kind, height, hash)"
            " SELECT 'rolled_back', height, hash FROM block WHERE height = ?",
            (height,),
        )


class transaction:
    def __init__(self, db):
        self.db = db

    def __enter__(self):
        self.db.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind, error, trace):
        self.db.execute("COMMIT" if kind is None else "ROLLBACK")


def main():
    db = open_node(sys.argv[1])
    for _ in range(int(sys.argv[2])):
        height = commit_block(db, b"block %d" % (tip(db)[0] + 1))
        if height % 7 == 0:
            roll_back(db, height - 1)
            commit_block(db, b"block %d, again" % height)
        if height % 2 == 0:
            prove_block(db, height - 1, b"proof %d" % (height - 1))
    height, block_hash = tip(db)
    print(height, block_hash.hex())


if __name__ == "__main__":
    main()
