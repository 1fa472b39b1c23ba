"""Evenkeel as a contestant of the rivals' harness (class Contestant of harness/base.py).

    EVENKEEL=/path/to/evenkeel ./run.py --peer contestant:Ha --trials 20 --fault kill9,sigstop,pgcrash,graceful

A fleet of three hosts on loopback. The harness logs in as the role `postgres` to the database `postgres`:
that role is made by hand, over the primary's socket. Nothing starts a killed agent again but the harness
(`--respawn-after never`)."""
import json
import os
import subprocess
import time

from harness import base
from harness.base import Contestant, Node, sig_all, tree, wait_for

BINARY = os.environ.get("EVENKEEL", "evenkeel")
SERVICE = "bench"


class Ha(Contestant):
    name = "evenkeel-ha"
    plan = "ha"

    def verb(self, *args, check=True):
        env = dict(os.environ, EVENKEEL_DATA=self.fleet)
        env.pop("PGPASSWORD", None)
        done = subprocess.run([BINARY, *args], env=env, stdin=subprocess.DEVNULL, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=180)
        if check and done.returncode:
            raise RuntimeError(f"{args} -> {done.returncode}\n{done.stderr[-3000:]}")
        return done.stdout

    def show(self):
        return json.loads(self.verb("show", SERVICE, "--json"))

    def hosts(self):
        return {host["name"]: host for host in json.loads(self.verb("host", "list", "--json"))}

    def start(self):
        self.mkdirs()
        os.chmod(self.dir, 0o777)
        self.fleet = f"{self.dir}/fleet"
        log = open(f"{self.dir}/up.log", "ab")
        command = [BINARY, "up", "--data", self.fleet, "--listen", f"127.0.0.1:{self.base + 70}",
                   "--hosts", "3", "--respawn-after", "never"]
        self.procs.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           start_new_session=True))
        wait_for(lambda: all(h["state"] == "up" for h in self.hosts().values())
                 and len(self.hosts()) == 3, 30, "hosts")
        time.sleep(2)  # directories are made ready in the background
        self.verb("create", "postgres", SERVICE, "--plan", self.plan)
        os.environ["PGPASSWORD"] = "harness"
        for member in self.show()["members"]:
            node = Node(f"m{member['id']}", member["port"], member["data_dir"])
            node.host = member["host"]
            self.nodes.append(node)
        self.look()
        wait_for(self.healthy, 60, "healthy")
        node = self.primary()
        make = ("CREATE ROLE postgres LOGIN PASSWORD 'harness' IN ROLE pg_monitor; "
                "ALTER DATABASE postgres OWNER TO postgres")
        base.sh(["psql", "-h", f"{self.fleet}/s/{node.host}", "-p", str(node.port), "-U", "evenkeel",
                 "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", make], user=node.owner)

    def look(self):
        """The agents' processes, and how each was started."""
        hosts = self.hosts()
        for node in self.nodes:
            node.pid = hosts[node.host]["pid"]
            if node.pid:
                raw = open(f"/proc/{node.pid}/cmdline", "rb").read().split(b"\0")[:-1]
                node.command = [part.decode() for part in raw]
                raw = open(f"/proc/{node.pid}/environ", "rb").read().split(b"\0")[:-1]
                node.environ = dict(part.decode().split("=", 1) for part in raw)
                node.owner = os.stat(f"/proc/{node.pid}").st_uid
            # The gateway is a child of its agent and outlives it on other hosts too: clients of this
            # harness do not go through it.
            node.pids = lambda node=node: tree([node.pid, base.postmaster_pid(node.pgdata)])

    def primary(self):
        for member in self.show()["members"]:
            if member["role"] == "primary":
                return next(node for node in self.nodes if node.port == member["port"])

    def healthy(self):
        self.look()
        show = self.show()
        roles = sorted(member["role"] for member in show["members"])
        return (show["state"] == "available" and show["failover"]["safe_now"]
                and show["operation"] is None
                and roles == ["primary"] + ["standby"] * (len(self.nodes) - 1)
                and all(m["sync"] for m in show["members"] if m["role"] == "standby"))

    def streaming(self, node):
        for member in self.show()["members"]:
            if member["port"] == node.port:
                return member["role"] == "standby" and member["state"] == "following" and member["sync"]
        return False

    def switchover(self):
        self.verb("switchover", SERVICE, "--no-wait")

    def start_node(self, node):
        subprocess.Popen(node.command, env=node.environ, user=node.owner, group=node.owner,
                         extra_groups=[], stdin=subprocess.DEVNULL, start_new_session=True,
                         stdout=open(f"{self.dir}/{node.name}.log", "ab"), stderr=subprocess.STDOUT)

    def stop(self):
        self.verb("down", check=False)
        for process in self.procs:
            sig_all(tree([process.pid]), 9)
        super().stop()

    def versions(self):
        return {"evenkeel": self.verb("--version").strip()}


class Ha3(Ha):
    name = "evenkeel-ha3"
    plan = "ha3"
