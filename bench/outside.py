#!/usr/bin/env python3
"""Runs a command, and says on standard error what it took, as seen from outside: wall time, processor time, and the most
memory that it or any process that it waited for had at once.

    bench/outside.py target/release/evenkeel sim run s3-outage-2017 --services 1000000 --seed 7"""
import os
import sys
import time

if len(sys.argv) < 2:
    sys.exit(__doc__)
began = time.monotonic()
try:
    pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ)
except OSError as error:
    sys.exit(f"{sys.argv[1]} cannot be run: {error.strerror}")
_, status, used = os.wait4(pid, 0)
wall, cpu = time.monotonic() - began, used.ru_utime + used.ru_stime
print(f"{wall:.1f} s, {cpu:.1f} s of processor, {used.ru_maxrss >> 10} MiB at most", file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)
