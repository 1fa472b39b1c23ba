#!/bin/sh
set -eu
input=$(cat)
ask() { psql -X -q -A -t -v ON_ERROR_STOP=1 -v input="$input" "$@"; }
dry=$(echo "SELECT CASE WHEN (:'input'::json->>'dry_run')::boolean THEN 1 ELSE 0 END;" | ask)
role=$(echo "SELECT pg_catalog.pg_is_in_recovery();" | ask)
if [ "$role" = t ]; then
    echo '{"ok": false, "text": "indexes of a standby are its primary'"'"'s: run it beside the primary"}'
    exit 0
fi
done=0
failed=0
: > "$HOME/changed"
echo "SELECT datname FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname;" \
    | ask > "$HOME/databases"
while IFS= read -r database; do
    # Whatever builds an index right now has it invalid too: it is left alone.
    PGDATABASE=$database ask > "$HOME/indexes" <<'SQL'
SET search_path = pg_catalog;
SELECT i.indexrelid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE NOT i.indisvalid AND c.relkind = 'i'
  AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p
                  WHERE p.datname = current_database() AND p.relid = i.indrelid)
ORDER BY c.oid;
SQL
    while IFS= read -r index; do
        PGDATABASE=$database ask -v index="$index" >> "$HOME/changed" <<'SQL'
SELECT pg_catalog.to_json(format('index %s in %s', :index::pg_catalog.regclass, pg_catalog.current_database()));
SQL
        if [ "$dry" = 0 ]; then
            PGDATABASE=$database ask -v index="$index" >&2 <<'SQL' || { failed=$((failed + 1)); continue; }
SET lock_timeout = '30s';
SELECT CASE WHEN relname ~ '_cc(new|old)[0-9]*$'
    THEN format('DROP INDEX CONCURRENTLY %s', oid::pg_catalog.regclass)
    ELSE format('REINDEX INDEX CONCURRENTLY %s', oid::pg_catalog.regclass) END AS command
FROM pg_catalog.pg_class WHERE oid = :index \gset
:command;
SQL
        fi
        done=$((done + 1))
    done < "$HOME/indexes"
done < "$HOME/databases"
changed=$(paste -s -d , "$HOME/changed")
if [ "$dry" = 1 ]; then verb="would be repaired"; else verb="were repaired"; fi
if [ "$failed" = 0 ]; then ok=true; else ok=false; fi
echo "{\"ok\": $ok, \"text\": \"$done invalid indexes $verb, $failed failed\", \"changed\": [$changed]}"
