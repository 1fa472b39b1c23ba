#!/bin/sh
set -eu
exec psql -X -q -A -t -v ON_ERROR_STOP=1 -v input="$(cat)" <<'SQL'
SET search_path = pg_catalog;
SET statement_timeout = '50s';
WITH input AS (
    SELECT (:'input'::json->'parameters'->>'seconds')::bigint AS seconds,
           (:'input'::json->>'dry_run')::boolean AS dry_run
), found AS MATERIALIZED (
    SELECT pid, usename, application_name, client_addr, floor(extract(epoch FROM now() - state_change)) AS idle,
           input.dry_run
    FROM pg_stat_activity, input
    WHERE state IN ('idle in transaction', 'idle in transaction (aborted)')
      AND state_change < now() - make_interval(secs => input.seconds)
      AND backend_type = 'client backend'
      AND pid <> pg_backend_pid()
      AND usename NOT LIKE 'evenkeel%'
      AND application_name <> 'evenkeel'
      AND wait_event IS DISTINCT FROM 'SyncRep'
), done AS (
    SELECT *, CASE WHEN dry_run THEN true ELSE pg_terminate_backend(pid) END AS ended FROM found
)
SELECT json_build_object(
    'ok', true,
    'text', format('%s %s', count(*) FILTER (WHERE ended),
        CASE WHEN (SELECT dry_run FROM input) THEN 'sessions would be ended' ELSE 'sessions ended' END),
    'changed', coalesce(json_agg(format('session %s of %s (%s), idle in a transaction for %s s',
        pid, usename, coalesce(nullif(application_name, ''), 'no name'), idle)) FILTER (WHERE ended), '[]'))
FROM done;
SQL
