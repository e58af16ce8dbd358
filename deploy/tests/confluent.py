#!/usr/bin/env python3
"""Tries confluent/ on the brokers of `./dev services`: topics and rights are made by an administrator; then every part runs
over TLS with a principal of its own that may do nothing else, and the registry is behind TLS and basic auth.
"""

import argparse
import base64
import http.server
import pathlib
import secrets
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request

import parts
from parts import fail, run, variable

SETTINGS = pathlib.Path(__file__).resolve().parent.parent / "confluent" / "crossfade.toml"
PARTS = {"engine": 8082, "relay": 8072, "comparator": 8091, "front": 8081}
HOMES = {"engine": "engine", "relay": "relay", "comparator": "comparator", "front": "front", "legacy": "legacy"}
REGISTRY_USER = "REGISTRY_KEY"


class Guarded(http.server.BaseHTTPRequestHandler):
    """The schema registry, for those who know the password."""

    protocol_version = "HTTP/1.1"
    password = secrets.token_hex(16)
    refused = 0

    def do(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        proof = base64.b64encode(f"{REGISTRY_USER}:{self.password}".encode()).decode()
        if self.headers.get("authorization") != f"Basic {proof}":
            Guarded.refused += 1
            return self.answer(401, b'{"error_code": 40101, "message": "Unauthorized"}')
        kind = self.headers.get("content-type")
        asked = urllib.request.Request(variable("CROSSFADE_REGISTRY_URL") + self.path, body or None,
                                       {"content-type": kind} if kind else {}, method=self.command)
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return self.answer(answer.status, answer.read())
        except urllib.error.HTTPError as error:
            return self.answer(error.code, error.read())

    do_GET = do_POST = do_PUT = do

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nobody reads it."""


def registry():
    """Starts it on a port of its own; the server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(variable("CROSSFADE_TRIAL_TLS_IDENTITY"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Guarded)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


class Managed(parts.Site):
    """The parts of the settings, each with its own key."""

    def __init__(self, binary, folder, registry_port):
        super().__init__(binary, folder)
        self.prefix = f"managed-{secrets.token_hex(4)}."
        self.registry = f"https://127.0.0.1:{registry_port}"
        self.tokens = {name: secrets.token_hex(16) for name in ("CROSSFADE_SERVICE_TOKEN", "CROSSFADE_APPROVER_TOKEN")}

    def environment(self, part, user, registry_password=Guarded.password):
        authority = variable("CROSSFADE_TRIAL_KAFKA_CA")
        text = SETTINGS.read_text()
        for ours, trial in [
            ('"pkc-00000.eu-central-1.example:9092"', f'"{variable("CROSSFADE_TRIAL_KAFKA_SASL_BOOTSTRAP")}"'),
            ("tls = true\n", f'tls = true\nca_file = "{authority}"\ntopic_prefix = "{self.prefix}"\n'),
            ('"https://psrc-00000.eu-central-1.example"', f'"{self.registry}"\nca_file = "{authority}"'),
            ("API_KEY\",", f'{user}",'),
            ("User:sa-", "User:"),
        ]:
            if ours not in text:
                fail(f"{SETTINGS} has no {ours} to be replaced for the trial")
            text = text.replace(ours, trial)
        settings = {
            "CROSSFADE_CONFIG": self.config(part, self.local(text, part, HOMES)),
            "KAFKA_API_SECRET": variable(f"CROSSFADE_TRIAL_KAFKA_{user.upper()}_PASSWORD"),
            "REGISTRY_API_SECRET": registry_password,
        }
        return parts.own_environment() | self.tokens | settings


def begin_legacy(site):
    """The reference legacy, in the place of yours."""
    text = '[legacy]\nlisten = "0.0.0.0:8090"\ndata_dir = "/var/lib/crossfade/legacy"\n'
    config = site.config("legacy", site.local(f'ledger = "billing"\n{text}', "legacy", HOMES))
    site.start("legacy", ["legacy", "--config", config], parts.own_environment())


def refused_registry(site):
    """An engine that the registry does not let in says so, and does not start."""
    environment = site.environment("engine", "engine", registry_password="wrong")
    ended = subprocess.run([site.binary, "engine"], env=environment, capture_output=True, text=True, timeout=60)
    if ended.returncode != 1 or "does not let us in: check [registry]" not in ended.stderr or not Guarded.refused:
        fail(f"an engine with a wrong password for the registry does not say so: {ended}")
    print("deploy: a wrong password for the registry is said")


def main():
    arguments = argparse.ArgumentParser(description="Tries the settings for a managed cluster.")
    arguments.add_argument("--crossfade", metavar="BINARY", required=True, help="the binary that the parts are started from")
    binary = str(pathlib.Path(arguments.parse_args().crossfade).resolve())
    server = registry()
    with tempfile.TemporaryDirectory() as folder, Managed(binary, folder, server.server_port) as site:
        admin = site.environment("topics", "admin")
        missing = subprocess.run([binary, "topics", "check", "--acls"], env=admin, capture_output=True, text=True)
        if missing.returncode != 3 or "access" not in missing.stdout:
            fail(f"nothing was missing at first: {missing}")
        print(f"deploy: {run(binary, 'topics', 'create', '--acls', env=admin).strip().splitlines()[-1]}")
        begin_legacy(site)
        refused_registry(site)
        for part in PARTS:
            # The front has nothing to do with the cluster.
            site.start(part, [part], site.environment(part, "nobody" if part == "front" else part))
        for part, port in PARTS.items():
            site.until_ready(part, f"http://127.0.0.1:{site.port(part, port)}/readyz")
        print(f"deploy: ready, each with its own principal: {', '.join(PARTS)}")
        environment = site.environment("comparator", "comparator")
        parts.try_traffic(f"http://127.0.0.1:{site.port('front', 8080)}",
                          lambda *command: run(binary, *command, env=environment))
        check_events(site)
        for part in PARTS:
            log = (site.folder / f"{part}.log").read_text()
            if "uthorization" in log:
                fail(f"{part} lacks a right:\n{log}")
    parts.delete_topics(site.prefix)
    server.shutdown()


def check_events(site):
    """A consumer with its own principal reads what the engine published."""
    from confluent_kafka import Consumer

    consumer = Consumer({
        "bootstrap.servers": variable("CROSSFADE_TRIAL_KAFKA_SASL_BOOTSTRAP"), "security.protocol": "SASL_SSL",
        "ssl.ca.location": variable("CROSSFADE_TRIAL_KAFKA_CA"), "sasl.mechanism": "PLAIN", "sasl.username": "consumer",
        "sasl.password": variable("CROSSFADE_TRIAL_KAFKA_CONSUMER_PASSWORD"), "auto.offset.reset": "earliest",
        "group.id": f"{site.prefix}events-check", "log_level": 3,
    })
    consumer.subscribe([f"{site.prefix}billing.account.events"])
    message = consumer.poll(parts.PATIENCE_SECONDS)
    consumer.close()
    if message is None or message.error():
        fail(f"a consumer with its rights reads no event: {message and message.error()}")
    kinds = dict(message.headers())
    print(f"deploy: a consumer with its own principal reads {kinds['eventType'].decode()}")


if __name__ == "__main__":
    sys.exit(main())
