#!/bin/sh
set -eu
exec psql -X -q -A -t -v ON_ERROR_STOP=1 -v input="$(cat)" <<'SQL'
SET search_path = pg_catalog;
SET statement_timeout = '50s';
WITH input AS (
    SELECT (:'input'::json->'parameters'->>'mebibytes')::bigint AS mebibytes,
           (:'input'::json->>'dry_run')::boolean AS dry_run,
           CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS here
), found AS MATERIALIZED (
    SELECT slot_name, slot_type, pg_wal_lsn_diff(here, restart_lsn)::bigint AS kept, dry_run
    FROM pg_replication_slots, input
    WHERE NOT active
      AND slot_name NOT LIKE 'ek\_%'
      AND pg_wal_lsn_diff(here, restart_lsn) > mebibytes * 1048576
), done AS MATERIALIZED (
    SELECT *, CASE WHEN dry_run THEN NULL ELSE pg_drop_replication_slot(slot_name)::text END AS dropped
    FROM found
)
SELECT json_build_object(
    'ok', true,
    'text', format('%s slots that nobody reads %s, which keep %s MiB of log', count(*),
        CASE WHEN (SELECT dry_run FROM input) THEN 'would be dropped' ELSE 'were dropped' END,
        coalesce(sum(kept), 0)::bigint / 1048576),
    'changed', coalesce(json_agg(format('%s slot %s, which keeps %s MiB', slot_type, slot_name, kept / 1048576)),
        '[]'))
FROM done WHERE dry_run OR dropped IS NOT NULL;
SQL
