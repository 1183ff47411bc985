-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- The ledger, version 1. The only truth about its schema.
--
-- Its rules are kept by the triggers below, whoever writes:
--
--   1. Pools, reservations and live leases never overlap their like; pools never meet the
--      reaper's uids; a reserved uid is leased to the name that reserved it alone.
--   2. A lease moves along the edges of the state machine and no others, one step at a time.
--   3. A lease leaves `revoking` or `held` only with evidence of this very step and this very boot
--      that both witnesses said EMPTY, and it ends only from `quarantined`, rested.
--   4. Evidence and history are append-only, and every change of a lease writes its history.
--
-- Two functions come from the program: uidpool_boot_id() and uidpool_boot_usec(), the kernel's
-- boot id and its clock since boot. A shell that does not have them can read everything, and every
-- write that would need to know in which boot it happens fails.
--
-- An INSERT OR REPLACE deletes what it replaces without asking the DELETE triggers. So every
-- table refuses an existing key before that, and every UPDATE of a key.
--
-- Times: `at`, `leased_at`, `since`, `created_at` are microseconds since 1970, for people.
-- `rest_until` is microseconds on the boot clock: setting the wall clock ends no quarantine.
-- Overlap is asked of the one row with the greatest key that is not behind the new range's end:
-- as the rows are disjoint, only it can reach into the new range. So all checks take constant time.

CREATE TABLE ledger (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    reaper_first INTEGER NOT NULL CHECK (reaper_first BETWEEN 1 AND 2147483647),
    reaper_count INTEGER NOT NULL CHECK (reaper_count BETWEEN 1 AND 65536),
    created_at   INTEGER NOT NULL
) STRICT;

CREATE TABLE pool (
    base       INTEGER PRIMARY KEY CHECK (base BETWEEN 1 AND 2147483647),
    size       INTEGER NOT NULL CHECK (size BETWEEN 1 AND 2147483647
                                       AND base + size <= 2147483648
                                       AND NOT (base <= 65535 AND base + size > 65534)),
    name       TEXT    NOT NULL UNIQUE CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 63),
    policy     TEXT    NOT NULL CHECK (policy IN ('domid', 'next')),
    gid        INTEGER CHECK (gid IS NULL OR gid BETWEEN 1 AND 2147483647), -- NULL: a gid per uid
    quarantine INTEGER NOT NULL CHECK (quarantine BETWEEN 0 AND 315360000), -- seconds
    follow     INTEGER NOT NULL CHECK (follow IN (0, 1)),
    resolve    INTEGER NOT NULL CHECK (resolve IN (0, 1)),
    retired    INTEGER NOT NULL DEFAULT 0 CHECK (retired IN (0, 1)),
    next       INTEGER NOT NULL CHECK (next BETWEEN base AND base + size), -- where `next` looks first
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE reservation (
    uid        INTEGER PRIMARY KEY,
    count      INTEGER NOT NULL CHECK (count >= 1),
    pool       INTEGER NOT NULL REFERENCES pool (base),
    name       TEXT    NOT NULL UNIQUE CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 63),
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE lease (
    uid        INTEGER PRIMARY KEY, -- the first of count
    count      INTEGER NOT NULL CHECK (count >= 1),
    id         INTEGER NOT NULL,    -- the id of the event in history that made it
    pool       INTEGER NOT NULL REFERENCES pool (base),
    gid        INTEGER NOT NULL CHECK (gid BETWEEN 1 AND 2147483647),
    domid      INTEGER CHECK (domid BETWEEN 0 AND 32751), -- below DOMID_FIRST_RESERVED, xen.h
    name       TEXT    CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 63),
    uuid       TEXT    CHECK (length(uuid) = 36),
    state      TEXT    NOT NULL CHECK (state IN ('leased', 'revoking', 'quarantined', 'held')),
    step       INTEGER NOT NULL DEFAULT 0,
    attempts   INTEGER NOT NULL DEFAULT 0,
    reason     TEXT,
    boot       TEXT    NOT NULL,    -- in which it came to its present state
    leased_at  INTEGER NOT NULL,
    since      INTEGER NOT NULL,
    rest_until INTEGER CHECK (state <> 'quarantined' OR rest_until IS NOT NULL),
    evidence   INTEGER
) STRICT;

CREATE INDEX lease_domid ON lease (domid, pool) WHERE domid IS NOT NULL;
CREATE INDEX lease_name ON lease (name, pool) WHERE name IS NOT NULL;
CREATE INDEX lease_resting ON lease (rest_until) WHERE state = 'quarantined';
CREATE INDEX lease_revoking ON lease (uid) WHERE state = 'revoking';

CREATE TABLE evidence (
    id            INTEGER PRIMARY KEY,
    lease         INTEGER NOT NULL, -- lease.id, and its step at the time
    step          INTEGER NOT NULL,
    uid           INTEGER NOT NULL,
    count         INTEGER NOT NULL,
    at            INTEGER NOT NULL,
    boot          TEXT    NOT NULL,
    scan          TEXT    NOT NULL CHECK (scan IN ('unknown', 'busy', 'empty')),
    census        TEXT    NOT NULL CHECK (census IN ('unknown', 'busy', 'empty')),
    tasks_scanned INTEGER NOT NULL CHECK (tasks_scanned >= 0),
    tasks_killed  INTEGER NOT NULL CHECK (tasks_killed >= 0),
    zombies       INTEGER NOT NULL CHECK (zombies >= 0),
    residue       INTEGER NOT NULL CHECK (residue >= 0),
    detail        TEXT
) STRICT;

CREATE TABLE history (
    id     INTEGER PRIMARY KEY,
    at     INTEGER NOT NULL,
    boot   TEXT    NOT NULL,
    what   TEXT    NOT NULL,
    pool   INTEGER,
    lease  INTEGER,
    uid    INTEGER,
    count  INTEGER,
    domid  INTEGER,
    name   TEXT,
    uuid   TEXT,
    detail TEXT
) STRICT;

CREATE INDEX history_uid ON history (uid);

-- The stretches of each pool that are neither leased nor reserved, merged, so that a free uid or
-- block is found in constant time however many leases live. Derived: `uidpool ledger check`
-- compares it with the rest. The key is the last uid, because leases are cut off the front: that
-- changes no key. `class` is the binary logarithm of the length.
CREATE TABLE free (
    last  INTEGER PRIMARY KEY,
    first INTEGER NOT NULL CHECK (first <= last),
    pool  INTEGER NOT NULL REFERENCES pool (base),
    class INTEGER NOT NULL GENERATED ALWAYS AS (
        CASE WHEN last - first + 1 < 2 THEN 0 WHEN last - first + 1 < 4 THEN 1
             WHEN last - first + 1 < 8 THEN 2 WHEN last - first + 1 < 16 THEN 3
             WHEN last - first + 1 < 32 THEN 4 WHEN last - first + 1 < 64 THEN 5
             WHEN last - first + 1 < 128 THEN 6 WHEN last - first + 1 < 256 THEN 7
             WHEN last - first + 1 < 512 THEN 8 WHEN last - first + 1 < 1024 THEN 9
             WHEN last - first + 1 < 2048 THEN 10 WHEN last - first + 1 < 4096 THEN 11
             WHEN last - first + 1 < 8192 THEN 12 WHEN last - first + 1 < 16384 THEN 13
             WHEN last - first + 1 < 32768 THEN 14 WHEN last - first + 1 < 65536 THEN 15
             ELSE 16 END) STORED
) STRICT;

CREATE INDEX free_class ON free (pool, class, last);

-- ledger

CREATE TRIGGER ledger_insert BEFORE INSERT ON ledger
WHEN EXISTS (SELECT 1 FROM ledger) OR EXISTS (SELECT 1 FROM pool)
BEGIN SELECT RAISE(ABORT, 'the reaper''s uids were chosen when the ledger was made'); END;

CREATE TRIGGER ledger_update BEFORE UPDATE ON ledger
BEGIN SELECT RAISE(ABORT, 'the reaper''s uids never change'); END;

CREATE TRIGGER ledger_delete BEFORE DELETE ON ledger
BEGIN SELECT RAISE(ABORT, 'the reaper''s uids never change'); END;

-- history and evidence

CREATE TRIGGER history_insert BEFORE INSERT ON history
WHEN NEW.id IS NOT (SELECT coalesce(max(id), 0) + 1 FROM history) OR NEW.boot IS NOT uidpool_boot_id()
BEGIN SELECT RAISE(ABORT, 'history is appended to by the ledger alone'); END;

CREATE TRIGGER history_update BEFORE UPDATE ON history
BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER history_delete BEFORE DELETE ON history
BEGIN SELECT RAISE(ABORT, 'history is append-only'); END;

CREATE TRIGGER evidence_insert BEFORE INSERT ON evidence
WHEN NEW.id IS NOT (SELECT coalesce(max(id), 0) + 1 FROM evidence)
     OR NEW.boot IS NOT uidpool_boot_id()
     OR NOT EXISTS (SELECT 1 FROM lease
                     WHERE lease.uid = NEW.uid AND lease.count = NEW.count AND lease.id = NEW.lease
                       AND lease.step = NEW.step AND lease.state IN ('revoking', 'held'))
BEGIN SELECT RAISE(ABORT, 'evidence must be of this boot and of the lease''s present step'); END;

CREATE TRIGGER evidence_history AFTER INSERT ON evidence
BEGIN
    INSERT INTO history (id, at, boot, what, pool, lease, uid, count, domid, name, uuid, detail)
    SELECT (SELECT coalesce(max(id), 0) + 1 FROM history), NEW.at, NEW.boot,
           CASE WHEN NEW.scan = 'empty' AND NEW.census = 'empty' THEN 'proven' ELSE 'not-proven' END,
           lease.pool, lease.id, lease.uid, lease.count, lease.domid, lease.name, lease.uuid,
           printf('scan says %s of %d tasks, census says %s, %d killed, %d unreaped, residue %d%s%s',
                  upper(NEW.scan), NEW.tasks_scanned, upper(NEW.census), NEW.tasks_killed,
                  NEW.zombies, NEW.residue, iif(NEW.detail IS NULL, '', ': '),
                  coalesce(NEW.detail, ''))
      FROM lease WHERE lease.uid = NEW.uid;
END;

CREATE TRIGGER evidence_update BEFORE UPDATE ON evidence
BEGIN SELECT RAISE(ABORT, 'evidence is append-only'); END;

CREATE TRIGGER evidence_delete BEFORE DELETE ON evidence
BEGIN SELECT RAISE(ABORT, 'evidence is append-only'); END;

-- pools

CREATE TRIGGER pool_insert BEFORE INSERT ON pool
BEGIN
    SELECT RAISE(ABORT, 'the ledger has no reaper uids yet') WHERE NOT EXISTS (SELECT 1 FROM ledger);
    -- A key that SQLite is to choose is still -1 here.
    SELECT RAISE(ABORT, 'a pool needs a base') WHERE NEW.base < 1;
    SELECT RAISE(ABORT, 'a pool of that name exists')
     WHERE EXISTS (SELECT 1 FROM pool WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'the range overlaps another pool')
      FROM (SELECT base + size - 1 AS last FROM pool WHERE base <= NEW.base + NEW.size - 1
             ORDER BY base DESC LIMIT 1)
     WHERE last >= NEW.base;
    SELECT RAISE(ABORT, 'the range meets the reaper''s uids')
      FROM ledger
     WHERE reaper_first <= NEW.base + NEW.size - 1 AND reaper_first + reaper_count - 1 >= NEW.base;
END;

CREATE TRIGGER pool_inserted AFTER INSERT ON pool
BEGIN
    INSERT INTO free (last, first, pool) VALUES (NEW.base + NEW.size - 1, NEW.base, NEW.base);
    INSERT INTO history (id, at, boot, what, pool, uid, count)
    VALUES ((SELECT coalesce(max(id), 0) + 1 FROM history), NEW.created_at, uidpool_boot_id(),
            'pool-added', NEW.base, NEW.base, NEW.size);
END;

CREATE TRIGGER pool_update BEFORE UPDATE ON pool
BEGIN
    SELECT RAISE(ABORT, 'a pool''s name and range never change')
     WHERE NEW.base IS NOT OLD.base OR NEW.size IS NOT OLD.size OR NEW.name IS NOT OLD.name
           OR NEW.created_at IS NOT OLD.created_at;
    SELECT RAISE(ABORT, 'leases or revocations of the pool live')
     WHERE NEW.retired > OLD.retired
       AND EXISTS (SELECT 1 FROM lease WHERE uid BETWEEN OLD.base AND OLD.base + OLD.size - 1
                                         AND state IN ('leased', 'revoking'));
END;

CREATE TRIGGER pool_retired AFTER UPDATE OF retired ON pool WHEN NEW.retired <> OLD.retired
BEGIN
    INSERT INTO history (id, at, boot, what, pool, uid, count)
    VALUES ((SELECT coalesce(max(id), 0) + 1 FROM history),
            CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000,
            uidpool_boot_id(), iif(NEW.retired, 'pool-retired', 'pool-revived'),
            NEW.base, NEW.base, NEW.size);
END;

CREATE TRIGGER pool_delete BEFORE DELETE ON pool
BEGIN SELECT RAISE(ABORT, 'a pool is retired, never deleted: files may carry its uids'); END;

-- reservations

CREATE TRIGGER reservation_insert BEFORE INSERT ON reservation
BEGIN
    SELECT RAISE(ABORT, 'a reservation of that name exists')
     WHERE EXISTS (SELECT 1 FROM reservation WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'no pool in use has all of these uids')
     WHERE NOT EXISTS (SELECT 1 FROM pool WHERE base = NEW.pool AND NOT retired AND NEW.uid >= base
                                            AND NEW.uid + NEW.count <= base + size);
    SELECT RAISE(ABORT, 'one of these uids is reserved')
      FROM (SELECT uid + count - 1 AS last FROM reservation WHERE uid <= NEW.uid + NEW.count - 1
             ORDER BY uid DESC LIMIT 1)
     WHERE last >= NEW.uid;
    SELECT RAISE(ABORT, 'one of these uids is leased, being revoked, in quarantine or held')
      FROM (SELECT uid + count - 1 AS last FROM lease WHERE uid <= NEW.uid + NEW.count - 1
             ORDER BY uid DESC LIMIT 1)
     WHERE last >= NEW.uid;
END;

CREATE TRIGGER reservation_inserted AFTER INSERT ON reservation
BEGIN
    INSERT INTO take_uids (first, last) VALUES (NEW.uid, NEW.uid + NEW.count - 1);
    INSERT INTO history (id, at, boot, what, pool, uid, count, name)
    VALUES ((SELECT coalesce(max(id), 0) + 1 FROM history), NEW.created_at, uidpool_boot_id(),
            'reserved', NEW.pool, NEW.uid, NEW.count, NEW.name);
END;

CREATE TRIGGER reservation_update BEFORE UPDATE ON reservation
BEGIN SELECT RAISE(ABORT, 'a reservation never changes: end it and make another'); END;

CREATE TRIGGER reservation_delete BEFORE DELETE ON reservation
WHEN EXISTS (SELECT 1
               FROM (SELECT uid + count - 1 AS last FROM lease
                      WHERE uid <= OLD.uid + OLD.count - 1 ORDER BY uid DESC LIMIT 1)
              WHERE last >= OLD.uid)
BEGIN SELECT RAISE(ABORT, 'its uids are leased, being revoked, in quarantine or held'); END;

CREATE TRIGGER reservation_deleted AFTER DELETE ON reservation
BEGIN
    INSERT INTO give_uids (first, last, pool) VALUES (OLD.uid, OLD.uid + OLD.count - 1, OLD.pool);
    INSERT INTO history (id, at, boot, what, pool, uid, count, name)
    VALUES ((SELECT coalesce(max(id), 0) + 1 FROM history),
            CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000,
            uidpool_boot_id(), 'unreserved', OLD.pool, OLD.uid, OLD.count, OLD.name);
END;

-- leases

CREATE TRIGGER lease_insert BEFORE INSERT ON lease
BEGIN
    SELECT RAISE(ABORT, 'a lease''s id is that of its first event')
     WHERE NEW.id IS NOT (SELECT coalesce(max(id), 0) + 1 FROM history);
    SELECT RAISE(ABORT, 'a lease begins in this boot, leased or held, at step 0, without evidence')
     WHERE NEW.boot IS NOT uidpool_boot_id() OR NEW.state NOT IN ('leased', 'held')
           OR NEW.step <> 0 OR NEW.evidence IS NOT NULL OR NEW.rest_until IS NOT NULL;
    SELECT RAISE(ABORT, 'a lease is for a domid or for a name, a hold that is none for neither')
     WHERE CASE NEW.state WHEN 'leased' THEN (NEW.domid IS NULL) = (NEW.name IS NULL)
                ELSE NEW.domid IS NOT NULL OR NEW.name IS NOT NULL END;
    SELECT RAISE(ABORT, 'no pool in use has all of these uids')
     WHERE NOT EXISTS (SELECT 1 FROM pool WHERE base = NEW.pool AND NOT retired AND NEW.uid >= base
                                            AND NEW.uid + NEW.count <= base + size);
    SELECT RAISE(ABORT, 'one of these uids is leased, being revoked, in quarantine or held')
      FROM (SELECT uid + count - 1 AS last FROM lease WHERE uid <= NEW.uid + NEW.count - 1
             ORDER BY uid DESC LIMIT 1)
     WHERE last >= NEW.uid;
    -- A reservation is leased whole and to its own name; a hold may lie inside of one.
    SELECT RAISE(ABORT, 'one of these uids is reserved for another name')
      FROM (SELECT uid, count, name FROM reservation WHERE uid <= NEW.uid + NEW.count - 1
             ORDER BY uid DESC LIMIT 1) AS r
     WHERE r.uid + r.count > NEW.uid
       AND CASE NEW.state WHEN 'leased' THEN NEW.name IS NOT r.name OR NEW.uid <> r.uid
                                             OR NEW.count <> r.count
                ELSE NEW.uid < r.uid OR NEW.uid + NEW.count > r.uid + r.count END;
    SELECT RAISE(ABORT, 'the domid or the name has a lease')
     WHERE NEW.state = 'leased'
       AND (EXISTS (SELECT 1 FROM lease WHERE domid = NEW.domid AND pool = NEW.pool
                                          AND state = 'leased')
            OR EXISTS (SELECT 1 FROM lease WHERE name = NEW.name AND pool = NEW.pool
                                             AND state = 'leased'));
END;

CREATE TRIGGER lease_inserted AFTER INSERT ON lease
BEGIN
    INSERT INTO take_uids (first, last)
    SELECT NEW.uid, NEW.uid + NEW.count - 1
     WHERE coalesce((SELECT uid + count - 1 FROM reservation WHERE uid <= NEW.uid
                      ORDER BY uid DESC LIMIT 1), 0) < NEW.uid;
    INSERT INTO history (id, at, boot, what, pool, lease, uid, count, domid, name, uuid, detail)
    VALUES (NEW.id, NEW.leased_at, NEW.boot, NEW.state, NEW.pool, NEW.id, NEW.uid, NEW.count,
            NEW.domid, NEW.name, NEW.uuid, NEW.reason);
END;

CREATE TRIGGER lease_update BEFORE UPDATE ON lease
BEGIN
    SELECT RAISE(ABORT, 'a lease''s uids, owner and age never change')
     WHERE NEW.uid IS NOT OLD.uid OR NEW.count IS NOT OLD.count OR NEW.id IS NOT OLD.id
           OR NEW.pool IS NOT OLD.pool OR NEW.gid IS NOT OLD.gid OR NEW.domid IS NOT OLD.domid
           OR NEW.name IS NOT OLD.name OR NEW.uuid IS NOT OLD.uuid
           OR NEW.leased_at IS NOT OLD.leased_at;
    SELECT RAISE(ABORT, 'a lease changes in this boot and by one step')
     WHERE NEW.boot IS NOT uidpool_boot_id() OR NEW.step IS NOT OLD.step + 1;
    SELECT RAISE(ABORT, 'no such edge between a lease''s states')
     WHERE (OLD.state || '>' || NEW.state) NOT IN
           ('leased>revoking', 'revoking>revoking', 'revoking>quarantined', 'revoking>held',
            'held>held', 'held>quarantined');
    SELECT RAISE(ABORT, 'a revocation that was not proven leaves no evidence with the lease')
     WHERE NEW.state = 'revoking' AND NEW.evidence IS NOT NULL;
    SELECT RAISE(ABORT, 'no evidence of this step and boot that both witnesses said EMPTY')
     WHERE (NEW.state = 'quarantined' OR (OLD.state = 'revoking' AND NEW.state = 'held'))
       AND NOT EXISTS (SELECT 1 FROM evidence
                        WHERE evidence.id = NEW.evidence AND evidence.lease = OLD.id
                          AND evidence.step = OLD.step AND evidence.boot = uidpool_boot_id()
                          AND evidence.scan = 'empty' AND evidence.census = 'empty'
                          AND (evidence.residue = 0 OR NEW.state = 'held'));
    SELECT RAISE(ABORT, 'a hold keeps its evidence')
     WHERE OLD.state = 'held' AND NEW.state = 'held' AND NEW.evidence IS NOT OLD.evidence;
END;

CREATE TRIGGER lease_updated AFTER UPDATE ON lease WHEN NEW.state <> OLD.state
BEGIN
    INSERT INTO history (id, at, boot, what, pool, lease, uid, count, domid, name, uuid, detail)
    VALUES ((SELECT coalesce(max(id), 0) + 1 FROM history), NEW.since, NEW.boot, NEW.state,
            NEW.pool, NEW.id, NEW.uid, NEW.count, NEW.domid, NEW.name, NEW.uuid, NEW.reason);
END;

-- A rest is over on the boot clock, or because its boot is.
CREATE TRIGGER lease_delete BEFORE DELETE ON lease
BEGIN
    SELECT RAISE(ABORT, 'a lease ends only from quarantine, rested')
     WHERE OLD.state <> 'quarantined'
           OR (OLD.boot = uidpool_boot_id() AND OLD.rest_until > uidpool_boot_usec());
    SELECT RAISE(ABORT, 'a lease ends only with evidence that both witnesses said EMPTY')
     WHERE NOT EXISTS (SELECT 1 FROM evidence
                        WHERE evidence.id = OLD.evidence AND evidence.lease = OLD.id
                          AND evidence.scan = 'empty' AND evidence.census = 'empty');
END;

CREATE TRIGGER lease_deleted AFTER DELETE ON lease
BEGIN
    INSERT INTO give_uids (first, last, pool)
    SELECT OLD.uid, OLD.uid + OLD.count - 1, OLD.pool
     WHERE coalesce((SELECT uid + count - 1 FROM reservation WHERE uid <= OLD.uid
                      ORDER BY uid DESC LIMIT 1), 0) < OLD.uid;
    INSERT INTO history (id, at, boot, what, pool, lease, uid, count, domid, name, uuid)
    VALUES ((SELECT coalesce(max(id), 0) + 1 FROM history),
            CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000,
            uidpool_boot_id(), 'freed', OLD.pool, OLD.id, OLD.uid, OLD.count, OLD.domid, OLD.name,
            OLD.uuid);
END;

-- Free stretches. Two views serve as procedures, because two tables' triggers need them: cut uids
-- that are now leased or reserved out of the stretch they lie in, and give such uids back, merged
-- with their neighbours.

CREATE VIEW take_uids (first, last) AS SELECT first, last FROM free WHERE 0;

CREATE TRIGGER take_uids_insert INSTEAD OF INSERT ON take_uids
BEGIN
    SELECT RAISE(ABORT, 'these uids are not free')
     WHERE coalesce((SELECT first FROM free WHERE last >= NEW.last ORDER BY last LIMIT 1),
                    NEW.first + 1) > NEW.first;
    INSERT INTO free (last, first, pool)
    SELECT NEW.first - 1, first, pool FROM free
     WHERE last = (SELECT min(last) FROM free WHERE last >= NEW.last) AND first < NEW.first;
    UPDATE free SET first = NEW.last + 1
     WHERE last = (SELECT min(last) FROM free WHERE last >= NEW.last) AND last > NEW.last;
    DELETE FROM free WHERE last = NEW.last;
END;

CREATE VIEW give_uids (first, last, pool) AS SELECT first, last, pool FROM free WHERE 0;

CREATE TRIGGER give_uids_insert INSTEAD OF INSERT ON give_uids
BEGIN
    UPDATE free
       SET first = coalesce((SELECT l.first FROM free AS l
                              WHERE l.last = NEW.first - 1 AND l.pool = NEW.pool), NEW.first)
     WHERE last = (SELECT min(last) FROM free WHERE last > NEW.last)
       AND first = NEW.last + 1 AND pool = NEW.pool;
    INSERT INTO free (last, first, pool)
    SELECT NEW.last, coalesce((SELECT first FROM free
                                WHERE last = NEW.first - 1 AND pool = NEW.pool), NEW.first), NEW.pool
     WHERE coalesce((SELECT first FROM free WHERE last > NEW.last ORDER BY last LIMIT 1),
                    NEW.last + 1) > NEW.last;
    DELETE FROM free WHERE last = NEW.first - 1 AND pool = NEW.pool;
END;

CREATE TRIGGER free_insert BEFORE INSERT ON free
BEGIN
    SELECT RAISE(ABORT, 'that stretch exists')
     WHERE EXISTS (SELECT 1 FROM free WHERE last = NEW.last);
    SELECT RAISE(ABORT, 'that is no stretch') WHERE NEW.last < NEW.first;
    -- Only while uids are cut out of a stretch does it cover a new one, which ends where they
    -- begin; only while two are merged does a new one cover another, with which it begins.
    SELECT RAISE(ABORT, 'that stretch overlaps another')
     WHERE (coalesce((SELECT first FROM free WHERE last > NEW.last ORDER BY last LIMIT 1),
                     NEW.last + 1) <= NEW.last
            AND NOT EXISTS (SELECT 1 FROM lease WHERE uid = NEW.last + 1)
            AND NOT EXISTS (SELECT 1 FROM reservation WHERE uid = NEW.last + 1))
        OR EXISTS (SELECT 1 FROM free
                    WHERE last BETWEEN NEW.first AND NEW.last AND first <> NEW.first);
    SELECT RAISE(ABORT, 'no pool has all of these uids')
     WHERE NOT EXISTS (SELECT 1 FROM pool WHERE base = NEW.pool AND NEW.first >= base
                                            AND NEW.last < base + size);
    SELECT RAISE(ABORT, 'one of these uids is not free')
     WHERE coalesce((SELECT uid + count - 1 FROM lease WHERE uid <= NEW.last
                      ORDER BY uid DESC LIMIT 1), 0) >= NEW.first
        OR coalesce((SELECT uid + count - 1 FROM reservation WHERE uid <= NEW.last
                      ORDER BY uid DESC LIMIT 1), 0) >= NEW.first;
END;

CREATE TRIGGER free_update BEFORE UPDATE ON free
BEGIN
    SELECT RAISE(ABORT, 'a stretch changes at its front alone')
     WHERE NEW.last IS NOT OLD.last OR NEW.pool IS NOT OLD.pool;
    SELECT RAISE(ABORT, 'no pool has all of these uids')
     WHERE NOT EXISTS (SELECT 1 FROM pool WHERE base = NEW.pool AND NEW.first >= base);
    SELECT RAISE(ABORT, 'one of these uids is not free')
     WHERE coalesce((SELECT uid + count - 1 FROM lease WHERE uid <= NEW.last
                      ORDER BY uid DESC LIMIT 1), 0) >= NEW.first
        OR coalesce((SELECT uid + count - 1 FROM reservation WHERE uid <= NEW.last
                      ORDER BY uid DESC LIMIT 1), 0) >= NEW.first;
    SELECT RAISE(ABORT, 'uids that are not in use stay free')
     WHERE NEW.first > OLD.first
       AND coalesce((SELECT uid + count - 1 FROM lease WHERE uid < NEW.first
                      ORDER BY uid DESC LIMIT 1), 0) <> NEW.first - 1
       AND coalesce((SELECT uid + count - 1 FROM reservation WHERE uid < NEW.first
                      ORDER BY uid DESC LIMIT 1), 0) <> NEW.first - 1;
END;

-- A stretch goes when its last uid came into use, or when it was merged into the next one.
CREATE TRIGGER free_delete BEFORE DELETE ON free
WHEN coalesce((SELECT uid + count - 1 FROM lease WHERE uid <= OLD.last
                ORDER BY uid DESC LIMIT 1), 0) < OLD.last
     AND coalesce((SELECT uid + count - 1 FROM reservation WHERE uid <= OLD.last
                    ORDER BY uid DESC LIMIT 1), 0) < OLD.last
     AND coalesce((SELECT first FROM free WHERE last > OLD.last ORDER BY last LIMIT 1),
                  OLD.last + 1) > OLD.first
BEGIN SELECT RAISE(ABORT, 'uids that are not in use stay free'); END;
