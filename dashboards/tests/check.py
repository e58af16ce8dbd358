#!/usr/bin/env python3
"""Checks the boards and the alert rules.

Always: the boards' files are what boards.py writes; promtool accepts the rules; every alert fires when it should and is
silent when it should (alerts.yml).

With --live CROSSFADE also: a Prometheus scrapes a running demo of that binary, on the Kafka cluster of `./dev services`,
and the brokers; every query of every panel has to return something.
"""

import argparse
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import urllib.parse
import urllib.request

import yaml

HERE = pathlib.Path(__file__).resolve().parent
BOARDS = HERE.parent
RULES = BOARDS / "rules" / "crossfade.yml"
sys.path.insert(0, str(BOARDS))
import boards  # noqa: E402 (beside this folder)

# The alerts are looked at after so long; alerts.yml says what the series are until then.
AFTER = "20m"
# Enough of the demo for every verdict, and short enough to wait for.
EXCHANGES = 4_000
# How long a query may stay empty while the demo goes on.
PATIENCE_SECONDS = 180


def fail(message):
    print(f"dashboards: {message}", file=sys.stderr)
    sys.exit(1)


def check_boards():
    for name in boards.BOARDS:
        if (BOARDS / f"{name}.json").read_text() != boards.text(name):
            fail(f"{name}.json is not what boards.py writes: run python3 dashboards/boards.py")


def fires(alert, series, count):
    """A test for promtool: so many alerts of that name fire."""
    return {
        "interval": "30s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [{
            "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}}) or vector(0)',
            "eval_time": AFTER,
            "exp_samples": [{"labels": "{}", "value": count}],
        }],
    }


def check_rules():
    alerts = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    cases = yaml.safe_load((HERE / "alerts.yml").read_text())
    if sorted(alerts) != sorted(cases):
        fail(f"alerts without cases or cases without alert: {sorted(set(alerts) ^ set(cases))}")
    tests = []
    for alert, case in cases.items():
        tests += [fires(alert, case["firing"], 1), fires(alert, case["silent"], 0)]
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "tests.yml"
        file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "30s", "tests": tests}))
        run("promtool", "check", "rules", str(RULES))
        run("promtool", "test", "rules", str(file))
    print(f"dashboards: {len(alerts)} alerts, each fires and is silent when it should")


def run(*command):
    try:
        ended = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        fail(f"{command[0]} is missing: ./dev services up installs it, or your package manager does")
    if ended.returncode != 0:
        fail(f"{' '.join(command)}:\n{ended.stdout}{ended.stderr}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A process that is stopped by its pid when the block ends."""

    def __init__(self, name, *command, log):
        self.name, self.log = name, log
        with open(log, "wb") as output:
            self.child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(20)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()

    def ensure(self):
        if self.child.poll() is not None:
            fail(f"{self.name} ended: {pathlib.Path(self.log).read_text()[-2000:]}")


def addresses(folder, demo):
    """Where the demo shows its metrics: on any listener for operators, because all its parts are one process."""
    config = folder / "demo" / "crossfade.toml"
    while not config.exists():
        demo.ensure()
        time.sleep(0.1)
    return [tomllib.loads(config.read_text())["front"]["admin_listen"]]


def delete_topics(folder):
    """Whoever keeps a demo's data keeps its topics with it; here nobody wants them."""
    from confluent_kafka.admin import AdminClient

    kafka = tomllib.loads((folder / "demo" / "crossfade.toml").read_text())["kafka"]
    admin = AdminClient({"bootstrap.servers": kafka["bootstrap"], "log_level": 3})
    names = [name for name in admin.list_topics(timeout=10).topics if name.startswith(kafka["topic_prefix"])]
    for deleted in (admin.delete_topics(names) if names else {}).values():
        deleted.result()


def drop_database(folder):
    """The same with its database."""
    url = (folder / "demo" / "tokens" / "database").read_text()
    name = urllib.parse.urlsplit(url).path.removeprefix("/")
    subprocess.run(["psql", "-q", "-c", f'DROP DATABASE "{name}" WITH (FORCE)', os.environ["CROSSFADE_DATABASE_URL"]],
                   check=True)


def scraping(folder, crossfade, brokers):
    jobs = [{"job_name": name, "static_configs": [{"targets": targets}]}
            for name, targets in [("crossfade", crossfade), ("kafka", brokers)]]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump({
        "global": {"scrape_interval": "1s", "evaluation_interval": "5s"},
        "rule_files": [str(RULES)], "scrape_configs": jobs,
    }))
    return file


def samples(port, query):
    """How many numbers a query returns."""
    query = query.replace("$__rate_interval", "15s")
    url = f"http://127.0.0.1:{port}/api/v1/query?" + urllib.parse.urlencode({"query": query})
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            result = json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        fail(f"{query}: {error.read().decode()}")
    except OSError:
        return 0
    return sum(one["value"][1] != "NaN" for one in result)


def check_live(binary):
    brokers = os.environ.get("CROSSFADE_TRIAL_KAFKA_JMX")
    if not brokers:
        fail("CROSSFADE_TRIAL_KAFKA_JMX is not set: run `./dev services up`, then `. .services/env`")
    queries = [(name, panel["title"], legend, query)
               for name, (_, panels) in boards.BOARDS.items()
               for panel in panels for legend, query in panel["queries"].items()]
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        demo = Process("the demo", binary, "demo", "--kafka", "--postgres", "--exchanges", str(EXCHANGES),
                       "--fault", "wrong-fee", "--data", str(folder / "demo"), log=folder / "demo.log")
        with demo:
            config = scraping(folder, addresses(folder, demo), brokers.split(","))
            prometheus = Process("Prometheus", "prometheus", f"--config.file={config}",
                                 f"--storage.tsdb.path={folder / 'series'}", f"--web.listen-address=127.0.0.1:{port}",
                                 log=folder / "prometheus.log")
            with prometheus:
                empty = dict.fromkeys(queries, 0)
                until = time.monotonic() + PATIENCE_SECONDS
                while empty and time.monotonic() < until:
                    demo.ensure()
                    prometheus.ensure()
                    time.sleep(1)
                    for each in list(empty):
                        found = samples(port, each[3])
                        if found:
                            print(f"{each[0]:8} {found:4} {each[1]}{': ' + each[2] if each[2] else ''}")
                            del empty[each]
        delete_topics(folder)
        drop_database(folder)
    if empty:
        fail("no data:\n" + "\n".join(f"  {name}: {title}: {query}" for name, title, _, query in empty))
    print(f"dashboards: all {len(queries)} queries of {len(boards.BOARDS)} boards return data")


def main():
    arguments = argparse.ArgumentParser(description="Checks the boards and the alert rules.")
    arguments.add_argument("--live", metavar="CROSSFADE", help="the binary whose demo is scraped")
    live = arguments.parse_args().live
    check_boards()
    check_rules()
    if live:
        check_live(live)


if __name__ == "__main__":
    main()
