#!/bin/sh
set -eu
exec psql -X -q -A -t -v ON_ERROR_STOP=1 -v input="$(cat)" <<'SQL'
SET search_path = pg_catalog;
SET statement_timeout = '50s';
WITH input AS (
    SELECT (:'input'::json->'parameters'->>'percent')::bigint AS percent,
           (:'input'::json->'parameters'->>'to_percent')::bigint AS to_percent,
           (:'input'::json->>'dry_run')::boolean AS dry_run,
           current_setting('max_connections')::bigint
               - current_setting('superuser_reserved_connections')::bigint AS most
), clients AS MATERIALIZED (
    SELECT * FROM pg_stat_activity
    WHERE backend_type = 'client backend' AND usename NOT LIKE 'evenkeel%' AND application_name <> 'evenkeel'
), used AS (
    SELECT count(*) AS used FROM pg_stat_activity WHERE backend_type = 'client backend'
), surplus AS (
    SELECT CASE WHEN used * 100 >= most * percent THEN used - most * to_percent / 100 ELSE 0 END AS surplus
    FROM used, input
), most AS (
    SELECT usesysid, application_name FROM clients GROUP BY 1, 2 ORDER BY count(*) DESC, 1, 2 LIMIT 1
), found AS MATERIALIZED (
    SELECT c.pid, c.usename, c.application_name, floor(extract(epoch FROM now() - c.state_change)) AS idle
    FROM clients c JOIN most m ON c.usesysid = m.usesysid AND c.application_name = m.application_name
    WHERE c.state = 'idle' AND c.pid <> pg_backend_pid()
    ORDER BY c.state_change, c.pid
    LIMIT (SELECT greatest(surplus, 0) FROM surplus)
), done AS (
    SELECT *, CASE WHEN (SELECT dry_run FROM input) THEN true ELSE pg_terminate_backend(pid) END AS ended
    FROM found
)
SELECT json_build_object(
    'ok', true,
    'text', format('%s of %s connections are used, %s %s', (SELECT used FROM used), (SELECT most FROM input),
        count(*) FILTER (WHERE ended),
        CASE WHEN (SELECT dry_run FROM input) THEN 'would be ended' ELSE 'were ended' END),
    'changed', coalesce(json_agg(format('session %s of %s (%s), idle for %s s',
        pid, usename, coalesce(nullif(application_name, ''), 'no name'), idle)) FILTER (WHERE ended), '[]'))
FROM done;
SQL
