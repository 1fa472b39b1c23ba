#!/bin/sh
set -eu
exec psql -X -q -A -t -v ON_ERROR_STOP=1 -v input="$(cat)" <<'SQL'
SET search_path = pg_catalog;
SET statement_timeout = '20s';
WITH RECURSIVE waits AS MATERIALIZED (
    SELECT pid, pg_blocking_pids(pid) AS blockers FROM pg_stat_activity
    WHERE wait_event_type = 'Lock' AND cardinality(pg_blocking_pids(pid)) > 0
), sessions AS (
    SELECT a.pid, json_build_object(
        'pid', a.pid, 'role', a.usename, 'database', a.datname, 'application', a.application_name,
        'state', a.state, 'transaction_seconds', floor(extract(epoch FROM now() - a.xact_start)),
        'query', left(a.query, 300)) AS told
    FROM pg_stat_activity a
), roots AS (
    SELECT DISTINCT b AS pid FROM waits, unnest(blockers) AS b WHERE b NOT IN (SELECT pid FROM waits)
), tree AS (
    SELECT r.pid, 0 AS depth, ARRAY[r.pid] AS path FROM roots r
    UNION ALL
    SELECT w.pid, t.depth + 1, t.path || w.pid FROM tree t JOIN waits w ON t.pid = ANY (w.blockers)
    WHERE w.pid <> ALL (t.path) AND t.depth < 20
)
SELECT json_build_object(
    'ok', true,
    'text', format('%s sessions wait for locks, held by %s others', (SELECT count(*) FROM waits),
        (SELECT count(*) FROM roots)),
    'changed', json_build_array(),
    'locks', coalesce((SELECT json_agg(json_build_object('depth', t.depth, 'path', t.path, 'session', s.told)
        ORDER BY t.path) FROM (SELECT * FROM tree ORDER BY path LIMIT 200) t LEFT JOIN sessions s USING (pid)), '[]'));
SQL
