#!/bin/sh
set -eu
input=$(cat)
ask() { psql -X -q -A -t -v ON_ERROR_STOP=1 -v input="$input" "$@"; }
dry=$(echo "SELECT CASE WHEN (:'input'::json->>'dry_run')::boolean THEN 1 ELSE 0 END;" | ask)
days=$(echo "SELECT greatest((:'input'::json->'parameters'->>'log_days')::bigint, 1);" | ask)
data=$(echo "SELECT pg_catalog.current_setting('data_directory');" | ask)
[ -f "$data/PG_VERSION" ] || { echo '{"ok": false, "text": "the data directory is not here"}'; exit 0; }
: > "$HOME/changed"
free() { df -P -B1 "$data" | awk 'NR == 2 { print $4 }'; }
say() { printf '%s\n' "$1" >> "$HOME/changed"; }
before=$(free)
if [ "$dry" = 0 ]; then
    echo "CHECKPOINT;" | ask >&2
    say '"a checkpoint was written"'
else
    say '"a checkpoint would be written"'
fi
# A temporary file's name begins with pgsql_tmp and the number of the session's process.
bytes=0
files=0
find "$data/base/pgsql_tmp" "$data/pg_tblspc" -path '*pgsql_tmp*' -name 'pgsql_tmp[0-9]*' 2>/dev/null \
    > "$HOME/temporary" || true
while IFS= read -r path; do
    name=${path##*/pgsql_tmp}
    pid=${name%%.*}
    case $pid in ''|*[!0-9]*) continue ;; esac
    [ -d "/proc/$pid" ] && continue
    size=$(du -sb "$path" 2>/dev/null | cut -f1)
    bytes=$((bytes + ${size:-0}))
    files=$((files + 1))
    [ "$dry" = 1 ] || rm -rf -- "$path"
done < "$HOME/temporary"
[ "$files" = 0 ] || say "\"$files temporary files of sessions that are gone, $bytes bytes\""
# The newest output is what the server writes to now.
logs=0
log_bytes=0
find "$data/../log" "$data/log" -maxdepth 1 -type f -name '*.log*' -mtime "+$days" 2>/dev/null \
    > "$HOME/logs" || true
while IFS= read -r path; do
    if find /proc/[0-9]*/fd -lname "$(readlink -f "$path")" 2>/dev/null | grep -q .; then continue; fi
    size=$(stat -c %s "$path")
    log_bytes=$((log_bytes + size))
    logs=$((logs + 1))
    [ "$dry" = 1 ] || rm -f -- "$path"
done < "$HOME/logs"
[ "$logs" = 0 ] || say "\"$logs old files of the server's output, $log_bytes bytes\""
after=$(free)
changed=$(paste -s -d , "$HOME/changed")
if [ "$dry" = 1 ]; then
    text="$((bytes + log_bytes)) bytes would be freed, and log that nothing needs"
else
    text="files of $((bytes + log_bytes)) bytes were removed; $before bytes were free, $after are now"
fi
echo "{\"ok\": true, \"text\": \"$text\", \"free_bytes\": $after, \"freed_bytes\": $((bytes + log_bytes)), \"changed\": [$changed]}"
