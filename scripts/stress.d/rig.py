"""Two network namespaces with a veth pair between them, and the programs that run in them.

Everything that is made here is removed here, also after an error or a signal; nothing outside the namespaces is touched.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
SERVER, BOARDS = "10.77.0.1", ["10.77.0.2", "10.77.0.3", "10.77.0.4"]


def run(*command, check=True):
    done = subprocess.run(command, capture_output=True, text=True)
    if check and done.returncode != 0:
        raise SystemExit(f"stress: {' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done


def need(command, package):
    """Whether the command is there, after trying to install its Debian package."""
    if shutil.which(command):
        return True
    if os.getuid() != 0 or not shutil.which("apt-get"):
        return False
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": env}
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", package]
    if subprocess.run(install, **quiet).returncode != 0:
        subprocess.run(["apt-get", "update", "-qq"], **quiet)
        subprocess.run(install, **quiet)
    return shutil.which(command) is not None


class Rig:
    """A server's namespace and one for the boards; use as a context."""

    def __init__(self, binary):
        self.binary = str(binary)
        self.server, self.boards = f"mr-srv-{os.getpid()}", f"mr-mic-{os.getpid()}"
        self.children = []
        self.has = {}

    def __enter__(self):
        if os.getuid() != 0:
            raise SystemExit("stress: network namespaces need root")
        if not need("ip", "iproute2"):
            raise SystemExit("stress: needs iproute2 (ip, tc)")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            for name in (self.server, self.boards):
                run("ip", "netns", "add", name)
                run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "link", "add", "veth0", "netns", self.server, "type", "veth", "peer", "name", "veth0", "netns", self.boards)
            run("ip", "-n", self.server, "addr", "add", f"{SERVER}/24", "dev", "veth0")
            for address in BOARDS:
                run("ip", "-n", self.boards, "addr", "add", f"{address}/24", "dev", "veth0")
            for name in (self.server, self.boards):
                run("ip", "-n", name, "link", "set", "veth0", "up")
            self.probe()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for child in self.children:
            if child.poll() is None:
                child.kill()
                child.wait()
        for name in (self.server, self.boards):
            run("ip", "netns", "del", name, check=False)

    def probe(self):
        """What this kernel can do to packets."""
        for kind, options in (("netem", "delay 1ms"), ("tbf", "rate 6mbit burst 1600 latency 300ms")):
            self.has[kind] = self.qdisc(f"{kind} {options}", check=False)
            self.no_qdisc()
        self.has["nft"] = need("nft", "nftables") and self.drop_fragments(0.5, check=False)
        if self.has["nft"]:
            self.keep_fragments()

    def qdisc(self, spec, check=True):
        return run("tc", "-n", self.boards, "qdisc", "replace", "dev", "veth0", "root", *spec.split(), check=check).returncode == 0

    def no_qdisc(self):
        run("tc", "-n", self.boards, "qdisc", "del", "dev", "veth0", "root", check=False)

    def drop_fragments(self, share, check=True):
        """Drops second fragments before they are put together; counts them."""
        one_in = round(1 / share)
        rules = (
            "table ip stress {\n chain fragments {\n  type filter hook prerouting priority -450\n"
            f"  ip frag-off & 0x1fff != 0 numgen random mod {one_in} == 0 counter drop\n }}\n}}\n"
        )
        done = subprocess.run(["ip", "netns", "exec", self.server, "nft", "-f", "-"], input=rules, text=True, capture_output=True)
        if check and done.returncode != 0:
            raise SystemExit(f"stress: nft: {done.stderr}")
        return done.returncode == 0

    def keep_fragments(self):
        run("ip", "netns", "exec", self.server, "nft", "delete", "table", "ip", "stress", check=False)

    def spawn(self, namespace, *command, **options):
        child = subprocess.Popen(["ip", "netns", "exec", namespace, *command], text=True, **options)
        self.children.append(child)
        return child

    def serve(self, *args):
        """Starts the server; returns the process and its ready line."""
        child = self.spawn(
            self.server, self.binary, "serve", "--http", "127.0.0.1:0", *args,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        line = child.stdout.readline()
        if not line:
            raise SystemExit(f"stress: serve did not start: {child.stderr.read()}")
        return child, json.loads(line)

    def simulate(self, *args, boards=1):
        sources = ",".join(BOARDS[:boards])
        command = [self.binary, "simulate", "--to", SERVER, "--from", sources, *args]
        return self.spawn(self.boards, *command, stdout=subprocess.PIPE)

    def python(self, script, *args, **options):
        """One of our own scripts in the server's namespace."""
        return self.spawn(self.server, sys.executable, str(HERE / script), *args, **options)

    def udp_delivered(self):
        """Datagrams that the server's kernel has delivered to sockets so far."""
        text = run("ip", "netns", "exec", self.server, "cat", "/proc/net/snmp").stdout
        keys, values = [line.split()[1:] for line in text.splitlines() if line.startswith("Udp:")]
        return int(dict(zip(keys, values))["InDatagrams"])


def stop(child, patience=5):
    """SIGTERM, and what it had to say."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
    try:
        return child.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.communicate()


def sleep_until(moment):
    time.sleep(max(0.0, moment - time.monotonic()))
