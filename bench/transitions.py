#!/usr/bin/env python3
"""Durable transitions a second: Evenkeel's engine and store, and peers where they are present, one after another.

    EVENKEEL=/path/to/evenkeel bench/transitions.py [--services 100000] [--seconds 30] [--dir DIR] [--only evenkeel,postgresql]

PostgreSQL has a row for each transition: one row of state updated and one event inserted, in a statement of its own, by 64
clients over a socket; nothing is grouped but what its commits group by themselves. Where PEERS names the rivals'
harness with Restate installed, its best rate joins. Prints one JSON object."""
import argparse
import glob
import json
import os
import pwd
import shutil
import subprocess
import sys
import tempfile

CLIENTS = 64
ROWS = 100_000
TABLES = f"""
create table state(id int primary key, revision bigint not null default 0, phase text not null default 'idle', body text not null,
  updated timestamptz default now()) with (fillfactor=70);
insert into state select g, 0, 'idle', repeat('x', 150), now() from generate_series(1, {ROWS}) g;
create table event(position bigserial primary key, id int, revision bigint, kind text, body text);
"""
TRANSITION = rf"""\set id random(1,{ROWS})
with moved as (update state set revision = revision + 1, phase = 'run', updated = now() where id = :id returning id, revision)
insert into event(id, revision, kind, body)
  select id, revision, 'step', '{{"from":"idle","to":"run","why":"tick"}}' from moved;
"""


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(command, **more):
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
    if done.returncode:
        sys.exit(f"{command} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def evenkeel(args):
    binary = os.environ.get("EVENKEEL", "evenkeel")
    command = [binary, "bench", "engine", "--services", str(args.services), "--for", f"{args.seconds}s",
               "--only", "transitions", "--dir", args.dir, "--json"]
    figures = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    found = figures["transitions"]
    return {"transitions_per_second": figures["durable_transitions_per_second"],
            "services_moved_per_second": found["services_moved_per_second"], "seconds": found["seconds"]}


def servers_programs():
    """The newest PostgreSQL's programs, or none."""
    if shutil.which("initdb"):
        return os.path.dirname(shutil.which("initdb"))
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.split("/")[4]))
    return os.path.dirname(found[-1]) if found else None


def postgresql(args):
    programs = servers_programs()
    if not programs or not shutil.which("pgbench"):
        return None
    top = tempfile.mkdtemp(prefix="evenkeel-peer-", dir=args.dir)
    as_owner = []
    if os.geteuid() == 0:  # the server refuses to run as root
        user = pwd.getpwnam("postgres")
        os.chown(top, user.pw_uid, user.pw_gid)
        as_owner = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    data, script = f"{top}/data", f"{top}/transition.sql"
    os.chmod(top, 0o755)
    with open(script, "w", encoding="utf-8") as out:
        out.write(TRANSITION)
    run([*as_owner, f"{programs}/initdb", "-D", data, "-A", "trust", "-U", "postgres"], cwd="/")
    settings = ["listen_addresses=", f"unix_socket_directories={top}", "shared_buffers=1GB", "max_wal_size=4GB",
                "checkpoint_timeout=15min", "jit=off", "max_connections=100"]
    options = " ".join(f"-c {setting}" for setting in settings)
    # Its own words go to a file: whoever keeps this one's output open would wait for the server.
    run([*as_owner, f"{programs}/pg_ctl", "-D", data, "-w", "-l", f"{top}/log", "-o", options, "start"], cwd="/")
    try:
        run(["psql", "-qAt", "-h", top, "-U", "postgres", "-c", TABLES, "-c", "vacuum analyze state"])
        told = run(["pgbench", "-n", "-h", top, "-U", "postgres", "-M", "prepared", "-f", script, "-c", str(CLIENTS), "-j", "2",
                    "-T", str(args.seconds), "postgres"])
        rate = next(float(line.split()[2]) for line in told.splitlines() if line.startswith("tps = "))
        version = run([f"{programs}/postgres", "--version"]).split()[2]
        return {"transitions_per_second": round(rate), "clients": CLIENTS, "version": version, "seconds": args.seconds}
    finally:
        run([*as_owner, f"{programs}/pg_ctl", "-D", data, "-m", "immediate", "stop"], cwd="/")
        shutil.rmtree(top, ignore_errors=True)


def restate(args):
    peers = os.environ.get("PEERS")
    if not peers or not os.path.isdir(f"{peers}/restate/node_modules"):
        return None
    environment = dict(os.environ, SECS=str(max(5, args.seconds // 5)), TIMER_MINUTES="0")
    told = run([f"{peers}/restate/bench.py"], env=environment)
    steps = [json.loads(line).get("step_get_set_10k_keys") for line in told.splitlines() if line.startswith("{")]
    best = max((step for step in steps if step), key=lambda step: step["rps"], default=None)
    return best and {"transitions_per_second": round(best["rps"]), "calls_at_once": best["conns"]}


def main():
    parts = {"evenkeel": evenkeel, "postgresql": postgresql, "restate": restate}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--services", type=int, default=100_000)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--dir", default=tempfile.gettempdir(), help="where all of them keep their files: the same disk")
    parser.add_argument("--only", default=",".join(parts))
    args = parser.parse_args()
    found = {}
    for name in args.only.split(","):
        say(f"{name}: {args.seconds} s")
        found[name] = parts[name](args)
        if found[name] is None:
            say(f"{name} is not here")
    own = (found.get("evenkeel") or {}).get("transitions_per_second")
    for name, figures in found.items():
        if own and figures and name != "evenkeel":
            figures["evenkeel_times_as_many"] = round(own / figures["transitions_per_second"], 1)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
