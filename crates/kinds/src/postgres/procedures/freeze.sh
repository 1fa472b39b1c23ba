#!/bin/sh
# Its own time is kept a minute short of the limit, so that it can say how far it came.
set -eu
input=$(cat)
began=$(date +%s)
ask() { psql -X -q -A -t -v ON_ERROR_STOP=1 -v input="$input" "$@"; }
limit=$(echo "SELECT (:'input'::json->>'deadline_seconds')::bigint;" | ask)
dry=$(echo "SELECT CASE WHEN (:'input'::json->>'dry_run')::boolean THEN 1 ELSE 0 END;" | ask)
delay=$(echo "SELECT least(greatest((:'input'::json->'parameters'->>'cost_delay_ms')::bigint, 0), 100);" | ask)
role=$(echo "SELECT pg_catalog.pg_is_in_recovery();" | ask)
if [ "$role" = t ]; then
    echo '{"ok": false, "text": "a standby cannot be vacuumed: run it beside the primary"}'
    exit 0
fi
done=0
left=0
list=$HOME/tables
echo "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn
      ORDER BY age(datfrozenxid) DESC, datname;" | ask > "$HOME/databases"
: > "$HOME/changed"
while IFS= read -r database; do
    PGDATABASE=$database ask > "$list" <<'SQL'
SET search_path = pg_catalog;
SELECT c.oid FROM pg_class c
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'
  AND greatest(age(c.relfrozenxid), coalesce((SELECT age(t.relfrozenxid) FROM pg_class t
      WHERE t.oid = c.reltoastrelid AND t.relfrozenxid <> '0'), 0))
      > (:'input'::json->'parameters'->>'age')::bigint
ORDER BY age(c.relfrozenxid) DESC, c.oid
LIMIT (:'input'::json->'parameters'->>'tables')::bigint;
SQL
    while IFS= read -r table; do
        if [ $(( $(date +%s) - began )) -ge $(( limit - 60 )) ] && [ "$limit" -gt 120 ]; then
            left=$((left + 1))
            continue
        fi
        if [ "$dry" = 0 ]; then
            # A table that somebody has locked is left to the next time.
            PGDATABASE=$database ask -v table="$table" -v delay="$delay" >&2 <<'SQL' || { left=$((left + 1)); continue; }
SET vacuum_cost_delay = :delay;
SET lock_timeout = '10s';
SET maintenance_work_mem = '64MB';
SELECT format('VACUUM (FREEZE, SKIP_LOCKED) %s', :table::pg_catalog.regclass) AS command \gset
:command;
SQL
        fi
        done=$((done + 1))
        PGDATABASE=$database ask -v table="$table" >> "$HOME/changed" <<'SQL'
SELECT pg_catalog.to_json(format('%s in %s', :table::pg_catalog.regclass, pg_catalog.current_database()));
SQL
    done < "$list"
done < "$HOME/databases"
changed=$(paste -s -d , "$HOME/changed")
if [ "$dry" = 1 ]; then verb="would be frozen"; else verb="were frozen"; fi
echo "{\"ok\": true, \"text\": \"$done tables $verb, $left are left\", \"left\": $left, \"changed\": [$changed]}"
