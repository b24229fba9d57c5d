"""What the database itself saw: triggers write down every commit, claim and change of an attempt, and who made it.

Each propeller logs in as a role of its own name, so that the writer is the database's knowledge and not what a row
claims. A commit holds the row of leadership from its first statement on, and a claim changes that row: so the numbers
that the triggers draw are in the order in which the transactions took place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from libs.store import schema

_TABLES = f"""
CREATE TABLE chaos_commits (
    id bigserial PRIMARY KEY, txid bigint, kind text, writer text, holder text, epoch bigint, at_us bigint, shard int
);
CREATE UNIQUE INDEX ON chaos_commits (txid) WHERE kind = 'commit';
CREATE TABLE chaos_attempts (
    id bigserial PRIMARY KEY, execution_key bigint, node_id text, attempt int, executor text, phase int, at_us bigint
);
CREATE TABLE chaos_broken (id bigserial PRIMARY KEY, what text);

CREATE FUNCTION chaos_now() RETURNS bigint LANGUAGE sql AS
    $$ SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint $$;

CREATE FUNCTION chaos_commit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    its int;
BEGIN
    IF session_user LIKE 'propeller%' THEN
        IF TG_TABLE_NAME = 'executions' THEN
            its := NEW.shard;
        ELSE
            its := (SELECT shard FROM executions WHERE key = NEW.execution_key);
        END IF;
        INSERT INTO chaos_commits (txid, kind, writer, holder, epoch, at_us, shard)
        SELECT txid_current(), 'commit', session_user, holder, epoch, chaos_now(), shard
        FROM leadership WHERE shard = its
        ON CONFLICT (txid) WHERE kind = 'commit' DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_commit AFTER INSERT OR UPDATE ON executions FOR EACH ROW EXECUTE FUNCTION chaos_commit();
CREATE TRIGGER chaos_commit AFTER INSERT OR UPDATE ON nodes FOR EACH ROW EXECUTE FUNCTION chaos_commit();
CREATE TRIGGER chaos_commit AFTER INSERT OR UPDATE ON attempts FOR EACH ROW EXECUTE FUNCTION chaos_commit();

CREATE FUNCTION chaos_claim() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos_commits (txid, kind, writer, holder, epoch, at_us, shard)
    VALUES (txid_current(), 'claim', session_user, NEW.holder, NEW.epoch, chaos_now(), NEW.shard);
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_claim AFTER UPDATE ON leadership FOR EACH ROW
    WHEN (OLD IS DISTINCT FROM NEW) EXECUTE FUNCTION chaos_claim();

CREATE FUNCTION chaos_attempt() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND {schema.of("OLD", schema.ATTEMPT_IS_FINAL)} AND NEW.phase <> OLD.phase THEN
        INSERT INTO chaos_broken (what) VALUES (format('attempt %s of %s in %s was %s and became %s',
            NEW.attempt, NEW.node_id, NEW.execution_key, OLD.phase, NEW.phase));
    END IF;
    IF TG_OP = 'UPDATE' AND OLD.executor IS NOT NULL AND NEW.executor IS DISTINCT FROM OLD.executor THEN
        INSERT INTO chaos_broken (what) VALUES (format('attempt %s of %s in %s moved from %s to %s',
            NEW.attempt, NEW.node_id, NEW.execution_key, OLD.executor, NEW.executor));
    END IF;
    INSERT INTO chaos_attempts (execution_key, node_id, attempt, executor, phase, at_us)
    VALUES (NEW.execution_key, NEW.node_id, NEW.attempt, NEW.executor, NEW.phase, chaos_now());
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_attempt AFTER INSERT OR UPDATE ON attempts FOR EACH ROW EXECUTE FUNCTION chaos_attempt();

CREATE FUNCTION chaos_execution() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos_broken (what) VALUES (format('execution %s was %s and became %s',
        NEW.name, OLD.phase, NEW.phase));
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_execution AFTER UPDATE ON executions FOR EACH ROW
    WHEN ({schema.of("OLD", schema.EXECUTION_IS_FINAL)} AND NEW.phase <> OLD.phase) EXECUTE FUNCTION chaos_execution();
"""


@dataclass(frozen=True, slots=True)
class Commit:
    """A transaction of a propeller, in the order of its turn."""

    kind: str
    """`commit`, or `claim` for one that raised the epoch."""
    writer: str
    """The role that it was logged in as."""
    holder: str
    """Who led by the row of leadership that the transaction saw."""
    epoch: int
    at_us: int
    shard: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """An attempt was written with a phase."""

    execution: str
    node: str
    attempt: int
    phase: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Leader:
    holder: str
    epoch: int


class History:
    """Reads what the triggers wrote. Its connection goes to the database directly, through no wire.

    For one thread, which closes it. It is kept, for it is used many times a second; a restart of the server breaks it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._kept: psycopg.Connection[Any] | None = None

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def begin(self, roles: Sequence[str]) -> None:
        """Makes the roles and the triggers, in a database that is migrated."""
        with psycopg.connect(self._url, autocommit=True, connect_timeout=5) as connection:
            for role in roles:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN SUPERUSER").format(sql.Identifier(role)))
            # The server of the tests does not wait for its log; one that is killed would lose what it confirmed.
            name = sql.Identifier(connection.info.dbname)
            connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = on").format(name))
            connection.execute(_TABLES)

    def leader(self) -> Leader | None:
        """Of shard 0: the one that faults are about."""
        rows = self._rows("SELECT holder, epoch FROM leadership WHERE shard = 0")
        return Leader(*rows[0]) if rows else None

    def commits(self) -> list[Commit]:
        return [
            Commit(*row)
            for row in self._rows("SELECT kind, writer, holder, epoch, at_us, shard FROM chaos_commits ORDER BY id")
        ]

    def first_commit(self, after_us: int, epoch_above: int = -1) -> Commit | None:
        """The first commit for shard 0 after a time, of a later epoch than one if that is asked."""
        rows = self._rows(
            "SELECT kind, writer, holder, epoch, at_us, shard FROM chaos_commits"
            " WHERE kind = 'commit' AND shard = 0 AND at_us > %s AND epoch > %s ORDER BY id LIMIT 1",
            (after_us, epoch_above),
        )
        return Commit(*rows[0]) if rows else None

    def steps(self) -> list[Step]:
        return [
            Step(*row)
            for row in self._rows(
                "SELECT e.name, a.node_id, a.attempt, a.phase, a.at_us FROM chaos_attempts a"
                " JOIN executions e ON e.key = a.execution_key ORDER BY a.id"
            )
        ]

    def executions(self) -> dict[str, tuple[int, str]]:
        """Phase and error of every execution, by name."""
        rows = self._rows("SELECT name, phase, error FROM executions")
        return {name: (phase, repr(bytes(error)) if error else "") for name, phase, error in rows}

    def unfinished(self) -> int:
        [[count]] = self._rows(f"SELECT count(*) FROM executions WHERE {schema.EXECUTION_IS_LIVE}")
        return int(count)

    def broken(self) -> list[str]:
        """What the triggers saw that must not be."""
        return [what for (what,) in self._rows("SELECT what FROM chaos_broken ORDER BY id")]

    def _rows(self, query: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            return self._connected().execute(query, values).fetchall()
        except psycopg.OperationalError:
            self.close()
            return self._connected().execute(query, values).fetchall()

    def _connected(self) -> psycopg.Connection[Any]:
        if self._kept is None:
            self._kept = psycopg.connect(self._url, autocommit=True, connect_timeout=5)
        return self._kept
