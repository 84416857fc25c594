-- Tipline's outbox as tables of the node's own SQLite database, version 3.
--
-- Run this file once, as a migration, and tell the outbox which chain it belongs to, by the hash of
-- the genesis block. It may run again at any time: on version 3 it changes nothing, and versions 1
-- and 2 become version 3 by it.
--
--     INSERT OR IGNORE INTO tipline_outbox_state (genesis) VALUES (x'6fe28c0a...');
--
-- Then `tipline primary --source sqlite:PATH` publishes what is in it, beside the node. A node in
-- Python is in producer/examples/outbox.py.
--
-- The database must be in WAL mode (PRAGMA journal_mode = WAL), because the publisher reads
-- it while the node writes. SQLite 3.35 or newer.
--
-- PRAGMA synchronous is the node's choice, FULL or NORMAL. With NORMAL a power cut may take the
-- newest commits from the node, but never one that was published: the publisher syncs the WAL
-- before it gives rows away. Never OFF: then a power cut may leave the database behind the log,
-- which stops the publisher for good, or damaged. On macOS fsync does not reach the disk: there the
-- node's connections need PRAGMA fullfsync = 1 and PRAGMA checkpoint_fullfsync = 1 besides.
--
-- Nothing may remove or replace the database, its -wal or its -shm while the node or the publisher
-- runs, nor copy another database over it. The publisher stops for good when it sees that.
--
-- Then write one row per event, in the transaction that commits what it tells of. The
-- examples leave out the columns that the event does not have; they must be NULL.
--
--     a block was committed
--         INSERT INTO tipline_outbox (kind, height, hash, parent_hash, payload)
--         VALUES ('block_committed', 7, x'...', x'...', x'...');
--     a committed block was proven; an empty proof is x'', not NULL
--         INSERT INTO tipline_outbox (kind, height, hash, payload)
--         VALUES ('block_proven', 7, x'...', x'...');
--     blocks above a height are void
--         INSERT INTO tipline_outbox (kind, height, hash)
--         VALUES ('rolled_back', 6, x'hash of block 6');
--     a transaction was validated
--         INSERT INTO tipline_outbox (kind, hash, payload)
--         VALUES ('transaction_validated', x'id', x'...');
--     state that blocks cannot rebuild was set; a NULL payload erases it
--         INSERT INTO tipline_outbox (kind, key, payload)
--         VALUES ('state_recorded', x'key', x'...');
--     a named restore point
--         INSERT INTO tipline_outbox (kind, name) VALUES ('marked', 'before-upgrade');
--
-- A payload that is kept elsewhere already is referred to instead: payload_ref says where, in
-- words of the node's own, payload_hash is its BLAKE3 and payload_length its length in
-- bytes. If payload is given as well, it is a copy of it.
--
-- An event that does not follow from the ones before it, or that is over a limit, is refused:
-- the INSERT fails with a message that starts with "tipline:", writes nothing, and leaves the
-- transaction as it was. "OR IGNORE" does not silence it. Nothing else may be done to
-- the rows: not changed, not deleted. The publisher removes them, some time after they are
-- logged. Those that are logged do not count against the limits.

CREATE TABLE IF NOT EXISTS tipline_outbox (
    -- Dense, from 1, in commit order, never used again. Leave it out: it numbers itself.
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Commit time in microseconds since 1970. SQLite's own clock counts milliseconds.
    time_us INTEGER
        DEFAULT (CAST(round((julianday('now') - 2440587.5) * 86400000.0) AS INTEGER) * 1000),
    -- block_committed, block_proven, transaction_validated, state_recorded, rolled_back, marked
    kind TEXT,
    -- Height of the block; of the block that remains, if rolled back.
    height INTEGER,
    -- Hash of that block, or id of the transaction: 1 to 64 bytes.
    hash BLOB,
    -- Hash of the block below.
    parent_hash BLOB,
    -- Key of the state: 1 to 256 bytes.
    key BLOB,
    -- Name of the mark: 1 to 256 bytes of UTF-8 without control characters.
    name TEXT,
    -- Where the payload is, up to 4096 bytes, if it is not here.
    payload_ref TEXT,
    -- BLAKE3 of the payload that is referred to.
    payload_hash BLOB,
    -- Length in bytes of the payload that is referred to.
    payload_length INTEGER,
    -- The block, the proof, the transaction or the value: up to 64 MiB.
    payload BLOB
);

-- One row: what the next event must follow, and what the outbox holds.
CREATE TABLE IF NOT EXISTS tipline_outbox_state (
    one INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    -- Version of this schema.
    version INTEGER NOT NULL DEFAULT 3,
    -- Random id of the outbox. A log continues from one outbox only.
    id BLOB NOT NULL DEFAULT (randomblob(16)),
    -- Hash of the genesis block.
    genesis BLOB NOT NULL CHECK (typeof(genesis) = 'blob' AND length(genesis) BETWEEN 1 AND 64),
    -- Lineage of the log that its events are published to; NULL before the first. The publisher
    -- writes it.
    lineage BLOB CHECK (lineage IS NULL OR length(lineage) = 16),
    -- Events and payload bytes that may wait: what is logged does not count, and if nothing waits
    -- an event of any size fits. May be changed at any time.
    max_events INTEGER NOT NULL DEFAULT 100000,
    max_bytes INTEGER NOT NULL DEFAULT 10737418240,
    -- Blocks more than this below the newest one are forgotten: they cannot be proven any more,
    -- nor rolled back to. 83 hours of a chain with one block every 3 s.
    window INTEGER NOT NULL DEFAULT 100000,
    -- Sequence of the newest row; 0 if there never was one.
    last INTEGER NOT NULL DEFAULT 0,
    -- Rows up to here have been removed.
    trimmed INTEGER NOT NULL DEFAULT 0,
    -- Payload bytes of the rows that are here.
    bytes INTEGER NOT NULL DEFAULT 0,
    -- The parent of the first block; NULL before it, and if it has height 0.
    base_height INTEGER,
    base_hash BLOB,
    -- The newest block; NULL before the first.
    tip_height INTEGER,
    tip_hash BLOB
);

-- One row, the publisher's: what does not count against the limits any more.
CREATE TABLE IF NOT EXISTS tipline_outbox_released (
    one INTEGER PRIMARY KEY DEFAULT 1 CHECK (one = 1),
    -- Rows up to here are in the log, and backed up where the publisher waits for that.
    sequence INTEGER NOT NULL DEFAULT 0,
    -- Payload bytes of those of them that are still here.
    bytes INTEGER NOT NULL DEFAULT 0
);
INSERT OR IGNORE INTO tipline_outbox_released (one) VALUES (1);

-- The newest blocks of the chain, for what refers to them: proofs and rollbacks.
CREATE TABLE IF NOT EXISTS tipline_block (
    height INTEGER PRIMARY KEY,
    hash BLOB NOT NULL
);

-- The heights that have their proof, as runs without a gap. The lowest run begins at 0 and ends at the
-- height up to which everything is proven.
CREATE TABLE IF NOT EXISTS tipline_proven (
    first INTEGER PRIMARY KEY,
    last INTEGER NOT NULL
);

-- Every event: its shape and the limits.
CREATE TRIGGER IF NOT EXISTS tipline_outbox_admit BEFORE INSERT ON tipline_outbox
BEGIN
    SELECT CASE
        WHEN NOT EXISTS (SELECT 1 FROM tipline_outbox_state) THEN
            RAISE(ABORT, 'tipline: the outbox belongs to no chain yet: insert the hash of the genesis block into tipline_outbox_state')
        WHEN EXISTS (SELECT 1 FROM tipline_outbox WHERE sequence = NEW.sequence) THEN
            RAISE(ABORT, 'tipline: the outbox numbers its rows itself: leave sequence out')
        WHEN typeof(NEW.time_us) <> 'integer' OR NEW.time_us < 0 THEN
            RAISE(ABORT, 'tipline: time_us is not a number of microseconds since 1970: leave it out, or give one')
        WHEN typeof(NEW.kind) <> 'text' OR NEW.kind NOT IN ('block_committed', 'block_proven', 'transaction_validated', 'state_recorded', 'rolled_back', 'marked') THEN
            RAISE(ABORT, 'tipline: no such kind of event: give block_committed, block_proven, transaction_validated, state_recorded, rolled_back or marked')
    END;
    SELECT CASE
        WHEN NEW.kind IN ('block_committed', 'block_proven', 'rolled_back')
             AND (typeof(NEW.height) <> 'integer' OR NEW.height < 0) THEN
            RAISE(ABORT, 'tipline: height must be a number from 0')
        WHEN NEW.kind NOT IN ('block_committed', 'block_proven', 'rolled_back') AND NEW.height IS NOT NULL THEN
            RAISE(ABORT, 'tipline: this kind of event has no height')
        WHEN NEW.kind IN ('block_committed', 'block_proven', 'rolled_back', 'transaction_validated')
             AND (typeof(NEW.hash) <> 'blob' OR length(NEW.hash) NOT BETWEEN 1 AND 64) THEN
            RAISE(ABORT, 'tipline: hash must be a blob of 1 to 64 bytes')
        WHEN NEW.kind IN ('state_recorded', 'marked') AND NEW.hash IS NOT NULL THEN
            RAISE(ABORT, 'tipline: this kind of event has no hash')
        WHEN NEW.kind = 'block_committed'
             AND (typeof(NEW.parent_hash) <> 'blob' OR length(NEW.parent_hash) NOT BETWEEN 1 AND 64) THEN
            RAISE(ABORT, 'tipline: parent_hash must be a blob of 1 to 64 bytes')
        WHEN NEW.kind <> 'block_committed' AND NEW.parent_hash IS NOT NULL THEN
            RAISE(ABORT, 'tipline: only a committed block has a parent_hash')
        WHEN NEW.kind = 'state_recorded'
             AND (typeof(NEW.key) <> 'blob' OR length(NEW.key) NOT BETWEEN 1 AND 256) THEN
            RAISE(ABORT, 'tipline: key must be a blob of 1 to 256 bytes')
        WHEN NEW.kind <> 'state_recorded' AND NEW.key IS NOT NULL THEN
            RAISE(ABORT, 'tipline: only recorded state has a key')
        WHEN NEW.kind = 'marked'
             AND (typeof(NEW.name) <> 'text'
                  OR length(CAST(NEW.name AS BLOB)) NOT BETWEEN 1 AND 256
                  OR instr(CAST(NEW.name AS BLOB), x'00') > 0
                  OR NEW.name GLOB '*[' || char(1) || '-' || char(31) || char(127) || '-' || char(159) || ']*') THEN
            RAISE(ABORT, 'tipline: name must be text of 1 to 256 bytes without control characters')
        WHEN NEW.kind <> 'marked' AND NEW.name IS NOT NULL THEN
            RAISE(ABORT, 'tipline: only a mark has a name')
    END;
    SELECT CASE
        WHEN NEW.kind IN ('rolled_back', 'marked')
             AND (NEW.payload IS NOT NULL OR NEW.payload_ref IS NOT NULL) THEN
            RAISE(ABORT, 'tipline: this kind of event has no payload')
        WHEN NEW.kind IN ('block_committed', 'block_proven', 'transaction_validated')
             AND NEW.payload IS NULL AND NEW.payload_ref IS NULL THEN
            RAISE(ABORT, 'tipline: payload is NULL: if it is empty, give x''''')
        WHEN NEW.payload IS NOT NULL AND typeof(NEW.payload) <> 'blob' THEN
            RAISE(ABORT, 'tipline: payload must be a blob')
        WHEN NEW.payload_ref IS NULL
             AND (NEW.payload_hash IS NOT NULL OR NEW.payload_length IS NOT NULL) THEN
            RAISE(ABORT, 'tipline: payload_hash and payload_length are for payloads that payload_ref refers to')
        WHEN NEW.payload_ref IS NOT NULL
             AND (typeof(NEW.payload_ref) <> 'text'
                  OR length(CAST(NEW.payload_ref AS BLOB)) NOT BETWEEN 1 AND 4096) THEN
            RAISE(ABORT, 'tipline: payload_ref must be text of 1 to 4096 bytes')
        WHEN NEW.payload_ref IS NOT NULL
             AND (typeof(NEW.payload_hash) <> 'blob' OR length(NEW.payload_hash) <> 32
                  OR typeof(NEW.payload_length) <> 'integer' OR NEW.payload_length < 0) THEN
            RAISE(ABORT, 'tipline: payload_ref needs payload_hash, a BLAKE3 of 32 bytes, and payload_length')
        WHEN NEW.payload_ref IS NOT NULL AND NEW.payload IS NOT NULL
             AND NEW.payload_length <> length(NEW.payload) THEN
            RAISE(ABORT, 'tipline: payload_length is not the length of payload')
        WHEN coalesce(NEW.payload_length, length(NEW.payload), 0) > 67108864 THEN
            RAISE(ABORT, 'tipline: the payload has over 64 MiB: split it')
        WHEN (SELECT last - max(trimmed, sequence) >= max_events
                     OR (last > max(trimmed, sequence)
                         AND s.bytes - r.bytes + coalesce(NEW.payload_length, length(NEW.payload), 0) > max_bytes)
              FROM tipline_outbox_state s, tipline_outbox_released r) THEN
            RAISE(ABORT, 'tipline: the outbox is full: see why the log does not take its events')
    END;
END;

-- Version 1 had another one, in which rows counted until they were removed.
DROP TRIGGER IF EXISTS tipline_outbox_check;
-- Versions 1 and 2 did not know what is proven: all that there is by now is taken for it.
INSERT OR IGNORE INTO tipline_proven (first, last)
    SELECT 0, tip_height FROM tipline_outbox_state WHERE version < 3 AND tip_height IS NOT NULL;
UPDATE tipline_outbox_state SET version = 3 WHERE version < 3;

-- With limits of 0 nothing could ever be enqueued.
CREATE TRIGGER IF NOT EXISTS tipline_outbox_limits
BEFORE UPDATE OF max_events, max_bytes ON tipline_outbox_state
WHEN typeof(NEW.max_events) <> 'integer' OR NEW.max_events < 1
     OR typeof(NEW.max_bytes) <> 'integer' OR NEW.max_bytes < 1
BEGIN
    SELECT RAISE(ABORT, 'tipline: max_events and max_bytes must be at least 1');
END;

-- Every event: its number, and what waits.
CREATE TRIGGER IF NOT EXISTS tipline_outbox_count AFTER INSERT ON tipline_outbox
BEGIN
    SELECT RAISE(ABORT, 'tipline: the outbox numbers its rows itself: leave sequence out')
        WHERE NEW.sequence IS NOT (SELECT last + 1 FROM tipline_outbox_state);
    UPDATE tipline_outbox_state SET
        last = NEW.sequence,
        bytes = bytes + coalesce(NEW.payload_length, length(NEW.payload), 0);
END;

-- A block follows the tip; the first one, at height 0 or 1, the genesis.
CREATE TRIGGER IF NOT EXISTS tipline_outbox_block AFTER INSERT ON tipline_outbox
WHEN NEW.kind = 'block_committed'
BEGIN
    SELECT CASE
        WHEN tip_height IS NULL AND NEW.height = 0 AND NEW.hash <> genesis THEN
            RAISE(ABORT, 'tipline: block 0 is not the genesis block of this chain')
        WHEN tip_height IS NULL AND NEW.height = 1 AND NEW.parent_hash <> genesis THEN
            RAISE(ABORT, 'tipline: the parent of block 1 is not the genesis block of this chain')
        WHEN NEW.height <> tip_height + 1 THEN
            RAISE(ABORT, 'tipline: height is not the next above the newest block: to replace blocks, write rolled_back first')
        WHEN NEW.parent_hash <> tip_hash THEN
            RAISE(ABORT, 'tipline: parent_hash is not the newest block: to replace blocks, write rolled_back first')
    END FROM tipline_outbox_state;
    UPDATE tipline_outbox_state SET base_height = NEW.height - 1, base_hash = NEW.parent_hash
        WHERE tip_height IS NULL AND NEW.height > 0;
    UPDATE tipline_outbox_state SET tip_height = NEW.height, tip_hash = NEW.hash;
    INSERT INTO tipline_block (height, hash) VALUES (NEW.height, NEW.hash);
    DELETE FROM tipline_block
        WHERE height < NEW.height - (SELECT window FROM tipline_outbox_state);
END;

-- A proof names a block of the chain. A second proof of a block replaces the first.
CREATE TRIGGER IF NOT EXISTS tipline_outbox_proof AFTER INSERT ON tipline_outbox
WHEN NEW.kind = 'block_proven'
BEGIN
    SELECT RAISE(ABORT, 'tipline: the proof is for a block that is not in the chain, or too far below the newest one')
        WHERE NOT EXISTS (SELECT 1 FROM tipline_block WHERE height = NEW.height AND hash = NEW.hash);
END;

-- A rollback names a block of the chain below the tip, or the parent of its first block.
CREATE TRIGGER IF NOT EXISTS tipline_outbox_rollback AFTER INSERT ON tipline_outbox
WHEN NEW.kind = 'rolled_back'
BEGIN
    SELECT RAISE(ABORT, 'tipline: cannot roll back to a block that is not below the newest one')
        WHERE NOT EXISTS (SELECT 1 FROM tipline_outbox_state WHERE NEW.height < tip_height);
    SELECT RAISE(ABORT, 'tipline: cannot roll back to a block that is not in the chain, or too far below the newest one')
        WHERE NOT EXISTS (SELECT 1 FROM tipline_block WHERE height = NEW.height AND hash = NEW.hash)
          AND NOT EXISTS (SELECT 1 FROM tipline_outbox_state
                          WHERE base_height = NEW.height AND base_hash = NEW.hash);
    UPDATE tipline_outbox_state SET tip_height = NEW.height, tip_hash = NEW.hash;
    DELETE FROM tipline_block WHERE height > NEW.height;
END;

-- What is proven: everything below the first block, and the genesis.
CREATE TRIGGER IF NOT EXISTS tipline_outbox_proven_first AFTER INSERT ON tipline_outbox
WHEN NEW.kind = 'block_committed' AND NOT EXISTS (SELECT 1 FROM tipline_proven)
BEGIN
    INSERT INTO tipline_proven (first, last) VALUES (0, max(NEW.height - 1, 0));
END;

-- A proof makes a run longer, joins two, or begins one. Of those there are at most 2^20 above the
-- lowest, because whoever applies the events must remember them.
CREATE TRIGGER IF NOT EXISTS tipline_outbox_proven_more AFTER INSERT ON tipline_outbox
WHEN NEW.kind = 'block_proven'
BEGIN
    SELECT RAISE(ABORT, 'tipline: the outbox remembers no more gaps between blocks that are proven: prove a block beside one that is, until there are fewer')
        WHERE (SELECT last FROM tipline_proven WHERE first <= NEW.height + 1 ORDER BY first DESC LIMIT 1)
                  < NEW.height - 1
          AND (SELECT count(*) FROM tipline_proven) > 1048576;
    -- The one below, and with it the one above.
    UPDATE tipline_proven
        SET last = coalesce((SELECT last FROM tipline_proven WHERE first = NEW.height + 1), NEW.height)
        WHERE first = (SELECT max(first) FROM tipline_proven WHERE first <= NEW.height)
          AND last = NEW.height - 1;
    -- The one above, or a new one.
    INSERT INTO tipline_proven (first, last)
        SELECT NEW.height, coalesce((SELECT last FROM tipline_proven WHERE first = NEW.height + 1), NEW.height)
        WHERE (SELECT last FROM tipline_proven WHERE first <= NEW.height ORDER BY first DESC LIMIT 1)
                  < NEW.height;
    DELETE FROM tipline_proven WHERE first = NEW.height + 1;
END;

CREATE TRIGGER IF NOT EXISTS tipline_outbox_proven_less AFTER INSERT ON tipline_outbox
WHEN NEW.kind = 'rolled_back'
BEGIN
    DELETE FROM tipline_proven WHERE first > NEW.height;
    UPDATE tipline_proven SET last = NEW.height
        WHERE first = (SELECT max(first) FROM tipline_proven) AND last > NEW.height;
END;

-- Rows that wait stay what they are. Where a payload is kept may change, but not the payload.
CREATE TRIGGER IF NOT EXISTS tipline_outbox_keep BEFORE DELETE ON tipline_outbox
WHEN OLD.sequence > (SELECT trimmed FROM tipline_outbox_state)
BEGIN
    SELECT RAISE(ABORT, 'tipline: rows of the outbox are removed by the publisher only, once they are logged');
END;

CREATE TRIGGER IF NOT EXISTS tipline_outbox_fixed
BEFORE UPDATE OF sequence, time_us, kind, height, hash, parent_hash, key, name, payload_hash, payload_length
ON tipline_outbox
BEGIN
    SELECT RAISE(ABORT, 'tipline: rows of the outbox are never changed: what was written may be published already');
END;

CREATE TRIGGER IF NOT EXISTS tipline_outbox_payload
BEFORE UPDATE OF payload, payload_ref ON tipline_outbox
WHEN OLD.payload_hash IS NULL
BEGIN
    SELECT RAISE(ABORT, 'tipline: rows of the outbox are never changed: what was written may be published already');
END;
