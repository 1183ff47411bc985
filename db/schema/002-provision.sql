-- SPDX-License-Identifier: LGPL-2.1-or-later
--
-- The ledger, version 2: pools that uidpool-provision makes, and accounts of single uids.
--
-- More rules, kept as those of version 1 are:
--
--   5. A pool that is being provisioned is retired, so that it gives nothing. It leaves that state
--      once, by coming into use, and no other pool comes into it.
--   6. Whatever changes in a pool but its `next`, history says what it was and what it is.
--   7. An account has a uid that is reserved for its name alone. It moves along its edges and no
--      others, and it is never deleted, nor is its reservation: files may carry its uid.
--   8. A lease of an account's uid begins only while the account is there to be used, and ends before
--      the account is removed.

ALTER TABLE pool ADD COLUMN provisioning INTEGER NOT NULL DEFAULT 0 CHECK (provisioning IN (0, 1));

-- Without a rowid, so that there is no key but these two.
CREATE TABLE account (
    name       TEXT    NOT NULL PRIMARY KEY CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 31),
    uid        INTEGER NOT NULL UNIQUE,
    gid        INTEGER NOT NULL CHECK (gid BETWEEN 1 AND 2147483647),
    pool       INTEGER NOT NULL REFERENCES pool (base),
    state      TEXT    NOT NULL CHECK (state IN ('adding', 'present', 'removing', 'removed')),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- pools

-- The column's default takes the place of a NULL in an INSERT OR REPLACE, behind this trigger's
-- back, and in an UPDATE OR REPLACE too.
CREATE TRIGGER pool_insert_provisioning BEFORE INSERT ON pool
WHEN NEW.provisioning IS NOT 0 AND NOT (NEW.provisioning IS 1 AND NEW.retired IS 1)
BEGIN SELECT RAISE(ABORT, 'a pool that is being provisioned gives no leases'); END;

CREATE TRIGGER pool_update_provisioning BEFORE UPDATE ON pool
BEGIN
    SELECT RAISE(ABORT, 'a pool is provisioned once, when it is made')
     WHERE OLD.provisioning = 0 AND NEW.provisioning IS NOT 0;
    SELECT RAISE(ABORT, 'the pool is being provisioned: it begins to give leases, or stays retired')
     WHERE OLD.provisioning = 1
       AND (NEW.provisioning IS NULL OR NEW.retired IS NOT NEW.provisioning);
END;

DROP TRIGGER pool_retired;

CREATE TRIGGER pool_retired AFTER UPDATE OF retired ON pool WHEN NEW.retired <> OLD.retired
BEGIN
    INSERT INTO history (id, at, boot, what, pool, uid, count)
    VALUES ((SELECT coalesce(max(id), 0) + 1 FROM history),
            CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000,
            uidpool_boot_id(),
            CASE WHEN NEW.retired THEN 'pool-retired' WHEN OLD.provisioning THEN 'pool-finished'
                 ELSE 'pool-revived' END,
            NEW.base, NEW.base, NEW.size);
END;

CREATE TRIGGER pool_changed AFTER UPDATE ON pool
WHEN NEW.policy <> OLD.policy OR NEW.gid IS NOT OLD.gid OR NEW.quarantine <> OLD.quarantine
     OR NEW.follow <> OLD.follow OR NEW.resolve <> OLD.resolve
BEGIN
    INSERT INTO history (id, at, boot, what, pool, uid, count, detail)
    VALUES ((SELECT coalesce(max(id), 0) + 1 FROM history),
            CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000,
            uidpool_boot_id(), 'pool-changed', NEW.base, NEW.base, NEW.size,
            substr(iif(NEW.policy <> OLD.policy,
                       printf(', policy %s -> %s', OLD.policy, NEW.policy), '')
                   || iif(NEW.gid IS NOT OLD.gid,
                          printf(', gid %s -> %s', coalesce(OLD.gid, 'per-uid'),
                                 coalesce(NEW.gid, 'per-uid')), '')
                   || iif(NEW.quarantine <> OLD.quarantine,
                          printf(', quarantine %d -> %d', OLD.quarantine, NEW.quarantine), '')
                   || iif(NEW.follow <> OLD.follow,
                          printf(', follow %s -> %s', iif(OLD.follow, 'yes', 'no'),
                                 iif(NEW.follow, 'yes', 'no')), '')
                   || iif(NEW.resolve <> OLD.resolve,
                          printf(', resolve %s -> %s', iif(OLD.resolve, 'yes', 'no'),
                                 iif(NEW.resolve, 'yes', 'no')), ''), 3));
END;

-- accounts

CREATE TRIGGER account_insert BEFORE INSERT ON account
BEGIN
    SELECT RAISE(ABORT, 'an account of that name exists')
     WHERE EXISTS (SELECT 1 FROM account WHERE name = NEW.name);
    SELECT RAISE(ABORT, 'an account has that uid')
     WHERE EXISTS (SELECT 1 FROM account WHERE uid = NEW.uid);
    SELECT RAISE(ABORT, 'that uid is not reserved for that name alone')
     WHERE NOT EXISTS (SELECT 1 FROM reservation WHERE uid = NEW.uid AND count = 1
                                                   AND name = NEW.name AND pool = NEW.pool);
    SELECT RAISE(ABORT, 'an account is first to be added') WHERE NEW.state IS NOT 'adding';
END;

CREATE TRIGGER account_inserted AFTER INSERT ON account
BEGIN
    INSERT INTO history (id, at, boot, what, pool, uid, count, name)
    VALUES ((SELECT coalesce(max(id), 0) + 1 FROM history), NEW.created_at, uidpool_boot_id(),
            'account-' || NEW.state, NEW.pool, NEW.uid, 1, NEW.name);
END;

CREATE TRIGGER account_update BEFORE UPDATE ON account
BEGIN
    SELECT RAISE(ABORT, 'an account''s name, ids, pool and age never change')
     WHERE NEW.name IS NOT OLD.name OR NEW.uid IS NOT OLD.uid OR NEW.gid IS NOT OLD.gid
           OR NEW.pool IS NOT OLD.pool OR NEW.created_at IS NOT OLD.created_at;
    SELECT RAISE(ABORT, 'no such edge between an account''s states')
     WHERE coalesce(OLD.state || '>' || NEW.state, '') NOT IN
           ('adding>present', 'present>removing', 'removing>removed', 'adding>removing',
            'removed>adding');
    SELECT RAISE(ABORT, 'the account''s uid is leased, or being revoked')
     WHERE NEW.state = 'removing'
       AND EXISTS (SELECT 1 FROM lease WHERE uid = OLD.uid AND state IN ('leased', 'revoking'));
END;

CREATE TRIGGER account_updated AFTER UPDATE ON account
BEGIN
    INSERT INTO history (id, at, boot, what, pool, uid, count, name)
    VALUES ((SELECT coalesce(max(id), 0) + 1 FROM history),
            CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000,
            uidpool_boot_id(), 'account-' || NEW.state, NEW.pool, NEW.uid, 1, NEW.name);
END;

CREATE TRIGGER account_delete BEFORE DELETE ON account
BEGIN SELECT RAISE(ABORT, 'an account is removed, never deleted: files may carry its uid'); END;

CREATE TRIGGER account_reservation BEFORE DELETE ON reservation
WHEN EXISTS (SELECT 1 FROM account WHERE uid = OLD.uid)
BEGIN
    SELECT RAISE(ABORT, 'an account has it: ''uidpool-provision user remove'' keeps the uid out of use');
END;

-- A reservation is leased whole, so the lease's first uid is the account's.
CREATE TRIGGER account_lease BEFORE INSERT ON lease
WHEN NEW.state IS NOT 'held'
     AND EXISTS (SELECT 1 FROM account WHERE uid = NEW.uid AND state <> 'present')
BEGIN SELECT RAISE(ABORT, 'the uid is an account''s that is not there to be used'); END;
