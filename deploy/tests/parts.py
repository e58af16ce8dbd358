"""What the checks of this folder have in common: processes on this machine, and traffic through a front."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

# How long a part may take until it is ready, and the comparator until it has seen everything.
PATIENCE_SECONDS = 60


def fail(message):
    print(f"deploy: {message}", file=sys.stderr)
    sys.exit(1)


def run(*command, **options):
    try:
        ended = subprocess.run(command, capture_output=True, text=True, **options)
    except FileNotFoundError:
        fail(f"{command[0]} is missing: ./dev services up installs it, or your package manager does")
    if ended.returncode != 0:
        fail(f"{' '.join(map(str, command))}:\n{ended.stdout}{ended.stderr}")
    return ended.stdout


def variable(name):
    return os.environ.get(name) or fail(f"{name} is not set: run `./dev services up`, then `. .services/env`")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def request(url, body=None):
    """Status and text of an answer; no status as long as nobody answers."""
    data = json.dumps(body).encode() if body is not None else None
    asked = urllib.request.Request(url, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(asked, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return None, ""


class Site:
    """Parts as processes of this machine, in the place of containers or machines with names."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, pathlib.Path(folder)
        self.ports, self.running = {}, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in self.running.values():
            child.send_signal(signal.SIGTERM)
        for name, child in self.running.items():
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                print(f"deploy: {name} had to be killed", file=sys.stderr)

    def port(self, service, number):
        """The port of this machine that stands for one of a service."""
        return self.ports.setdefault((service, int(number)), free_port())

    def local(self, text, service, homes):
        """Settings of a service, for a process of this machine; `homes` says which service answers to a name."""
        text = text.replace("/var/lib/crossfade", str(self.folder / service))
        text = re.sub(r"\b(0\.0\.0\.0|127\.0\.0\.1):(80\d\d)\b",
                      lambda at: f"127.0.0.1:{self.port(service, at[2])}", text)
        return re.sub(rf"\b({'|'.join(homes)}):(80\d\d)\b",
                      lambda at: f"127.0.0.1:{self.port(homes[at[1]], at[2])}", text)

    def config(self, service, text):
        """Writes the configuration of a service; its path."""
        home = self.folder / service
        home.mkdir(exist_ok=True)
        (home / "crossfade.toml").write_text(text)
        return str(home / "crossfade.toml")

    def start(self, name, command, environment):
        with open(self.folder / f"{name}.log", "wb") as log:
            child = subprocess.Popen([self.binary, *command], env=environment, stdout=log, stderr=log)
        self.running[name] = child

    def until_ready(self, name, url):
        until = time.monotonic() + PATIENCE_SECONDS
        while request(url)[0] != 200:
            if self.running[name].poll() is not None or time.monotonic() > until:
                fail(f"{name} is not ready: {request(url)}\n{(self.folder / f'{name}.log').read_text()[-3000:]}")
            time.sleep(0.1)


def own_environment():
    """Of this process, without what is meant for other runs of the binary."""
    return {name: value for name, value in os.environ.items() if not name.startswith("CROSSFADE_")}


def delete_topics(prefix):
    from confluent_kafka.admin import AdminClient

    admin = AdminClient({"bootstrap.servers": variable("CROSSFADE_KAFKA_BOOTSTRAP"), "log_level": 3})
    names = [name for name in admin.list_topics(timeout=10).topics if name.startswith(prefix)]
    for deleted in (admin.delete_topics(names) if names else {}).values():
        deleted.result()


def until_connected(command_line):
    """A front is ready, for its clients, before the comparator has heard of it; the dial waits for that."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        fronts = json.loads(command_line("status", "-o", "json"))["fronts"]
        if any(front["connected"] for front in fronts):
            return
        if time.monotonic() > until:
            fail(f"no front is connected: {fronts}")
        time.sleep(0.1)


def try_traffic(front, command_line):
    """Goes to stage shadow, sends three writes, and waits until the comparator says of all that they match."""
    until_connected(command_line)
    command_line("rollout", "set", "shadow", "--reason", "a check")

    def send(path, body):
        status, text = request(front + path, body)
        if status not in (200, 201):
            fail(f"{path}: {status} {text}")

    for account, kind in [("outside", "EXTERNAL"), ("alice", "USER")]:
        send("/accounts", {"accountId": account, "ownerId": "o", "ownerType": "t", "accountType": kind, "currency": "EUR"})
    send("/transactions/topup", {"idempotencyKey": "k", "sourceAccountId": "outside", "destinationAccountId": "alice",
                                 "amount": "10.00", "currency": "EUR"})
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        listed = json.loads(command_line("exchanges", "list", "-o", "json"))
        verdicts = [exchange["verdict"]["verdict"] for exchange in listed["exchanges"] if exchange.get("verdict")]
        if verdicts == ["match"] * 3:
            break
        if time.monotonic() > until:
            fail(f"the three exchanges do not match: {listed}")
        time.sleep(0.2)
    print("deploy: three exchanges through the front, all match")
