#!/usr/bin/env python3
"""Checks compose/ without containers.

Always: compose.yaml against the schema of compose files; images are pinned, mounted files are there, variables are in
.env.example; promtool and amtool accept the settings of Prometheus and Alertmanager.

With --crossfade BINARY also: every part is started by its command line of compose.yaml, as a process on the services of
`./dev services`, the names of containers replaced by addresses of this machine; traffic goes through the front, and the
comparator has to say that it matches. Prometheus and Alertmanager are started by theirs.
"""

import argparse
import json
import pathlib
import re
import secrets
import subprocess
import sys
import tempfile
import time

import parts
import yaml
from parts import fail, free_port, request, run, variable

COMPOSE = pathlib.Path(__file__).resolve().parent.parent / "compose"
# What Debian calls programs that their images call otherwise.
PROGRAMS = {"prometheus": "prometheus", "alertmanager": "prometheus-alertmanager"}


def mounts(service):
    """Files of this project that a container sees: its path → ours."""
    for volume in service.get("volumes", []):
        ours, theirs = volume.split(":")[:2]
        if ours.startswith("."):
            yield theirs, (COMPOSE / ours).resolve()


def check_file(compose):
    run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE / "compose.yaml"))
    known = set(re.findall(r"^(\w+)=", (COMPOSE / ".env.example").read_text(), re.M))
    used = set(re.findall(r"\$\{(\w+)", (COMPOSE / "compose.yaml").read_text()))
    if known != used:
        fail(f".env.example and compose.yaml differ in {sorted(known ^ used)}")
    for name, service in compose["services"].items():
        tag = service["image"].partition(":")[2]
        if not tag or tag == "latest":
            fail(f"{name}: the image {service['image']} is not pinned")
        for theirs, ours in mounts(service):
            if not ours.exists():
                fail(f"{name}: {theirs} is mounted from {ours}, which is not there")
        for volume in service.get("volumes", []):
            if not volume.startswith(".") and volume.split(":")[0] not in compose["volumes"]:
                fail(f"{name}: the volume {volume} is not declared")
        for port in service.get("ports", []):
            if not port.startswith("127.0.0.1:"):
                fail(f"{name}: the port {port} is open to others")
    print(f"deploy: {len(compose['services'])} services are as the schema of compose files wants them")


def mapped(text, service):
    """A text with paths of the container, for this machine."""
    for theirs, ours in mounts(service):
        text = text.replace(theirs, str(ours))
    return text


def check_monitoring(compose):
    with tempfile.TemporaryDirectory() as folder:
        prometheus = pathlib.Path(folder) / "prometheus.yml"
        prometheus.write_text(mapped((COMPOSE / "prometheus.yml").read_text(), compose["services"]["prometheus"]))
        run("promtool", "check", "config", str(prometheus))
    run("amtool", "check-config", str(COMPOSE / "alertmanager.yml"))
    print("deploy: promtool and amtool accept the settings")


def start_monitoring(compose):
    """Prometheus and Alertmanager, by their own command lines."""
    for name, program in PROGRAMS.items():
        service, port = compose["services"][name], free_port()
        with tempfile.TemporaryDirectory() as folder:
            arguments = [mapped(argument, service) for argument in service["command"]]
            if name == "prometheus":
                arguments = [argument.replace("=/prometheus", f"={folder}") for argument in arguments]
            else:
                arguments += [f"--storage.path={folder}", "--cluster.listen-address="]
            arguments += [f"--web.listen-address=127.0.0.1:{port}"]
            said = pathlib.Path(folder) / "log"
            with open(said, "wb") as log:
                child = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
            try:
                until = time.monotonic() + parts.PATIENCE_SECONDS
                while request(f"http://127.0.0.1:{port}/-/ready")[0] != 200:
                    if child.poll() is not None or time.monotonic() > until:
                        fail(f"{name} is not ready: {said.read_text()[-2000:]}")
                    time.sleep(0.1)
            finally:
                child.terminate()
                child.wait()
    print(f"deploy: {' and '.join(PROGRAMS)} start by their command lines")


class Composed(parts.Site):
    """The parts of the compose file."""

    def __init__(self, compose, binary, folder):
        super().__init__(binary, folder)
        self.services = compose["services"]
        self.prefix = f"compose-{secrets.token_hex(4)}."
        self.secrets = {name: secrets.token_hex(16) for name in re.findall(r"\$\{(\w+)", json.dumps(compose))}
        self.homes = {}
        for name, service in self.services.items():
            aliases = (service.get("networks") or {}).get("default", {}).get("aliases", [])
            for called in [name, *aliases]:
                # The first one of an alias.
                self.homes.setdefault(called, name)

    def here(self, text, service):
        """Settings of a container, for a process of this machine."""
        text = text.replace("kafka-1:9092,kafka-2:9092,kafka-3:9092", variable("CROSSFADE_KAFKA_BOOTSTRAP"))
        text = text.replace("http://registry:8080/apis/ccompat/v7", variable("CROSSFADE_REGISTRY_URL"))
        text = text.replace("[kafka]\n", f'[kafka]\ntopic_prefix = "{self.prefix}"\n')
        return self.local(text, service, self.homes)

    def environment(self, service):
        settings = {}
        for name, value in self.services[service]["environment"].items():
            value = re.sub(r"\$\{(\w+)[^}]*\}", lambda at: self.secrets[at[1]], value)
            settings[name] = self.here(value, service)
        mounted = dict(mounts(self.services[service]))
        config = mounted[settings["CROSSFADE_CONFIG"]].read_text()
        settings["CROSSFADE_CONFIG"] = self.config(service, self.here(config, service))
        return parts.own_environment() | settings


def start_parts(compose, binary):
    ours = [name for name, service in compose["services"].items() if service["image"].startswith("crossfade:")]
    running = [name for name in ours if name != "topics"]
    with tempfile.TemporaryDirectory() as folder, Composed(compose, binary, folder) as site:
        made = run(binary, *site.services["topics"]["command"], env=site.environment("topics"))
        print(f"deploy: {made.strip().splitlines()[-1]}")
        for name in running:
            site.start(name, site.services[name]["command"], site.environment(name))
        for name in running:
            if "healthcheck" in site.services[name]:
                site.until_ready(name, site.here(site.services[name]["healthcheck"]["test"][-1], name))
        print(f"deploy: ready by the command lines of compose.yaml: {', '.join(running)}")
        # The command line as it is used in the comparator's container.
        environment = site.environment("comparator")
        parts.try_traffic(f"http://127.0.0.1:{site.port('front', 8080)}",
                          lambda *arguments: run(binary, *arguments, env=environment))
    parts.delete_topics(site.prefix)


def main():
    arguments = argparse.ArgumentParser(description="Checks the compose file and what belongs to it.")
    arguments.add_argument("--crossfade", metavar="BINARY", help="the binary that the parts are started from")
    binary = arguments.parse_args().crossfade
    compose = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
    check_file(compose)
    check_monitoring(compose)
    if binary:
        start_monitoring(compose)
        start_parts(compose, str(pathlib.Path(binary).resolve()))


if __name__ == "__main__":
    main()
