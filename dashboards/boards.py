#!/usr/bin/env python3
"""The boards for Grafana: what they show, in few words. `python3 dashboards/boards.py` writes them as JSON beside this file.

Every query is right for parts in processes of their own and for all parts in one: what several processes say of the same
thing is taken once (`max by`), what each of them counts for itself is added up (`sum by`).
"""

import json
import pathlib

HERE = pathlib.Path(__file__).parent
RATE = "$__rate_interval"
WIDTH = 24


def panel(title, why, queries, kind="timeseries", unit="short", width=8, height=8, **options):
    """A panel. `queries` maps a legend to a query; `why` is what a person reads who asks what it means."""
    return {
        "title": title, "description": why, "queries": queries, "kind": kind, "unit": unit, "width": width,
        "height": height, "options": options,
    }


def stat(title, why, query, unit="short", legend="", red=None, green=None, width=4, **options):
    """One number. From `red` on it is red; with `green`, below that it is red."""
    steps = [{"color": "green", "value": None}]
    if red is not None:
        steps.append({"color": "red", "value": red})
    if green is not None:
        steps = [{"color": "red", "value": None}, {"color": "green", "value": green}]
    return panel(title, why, {legend: query}, "stat", unit, width, 4, steps=steps, **options)


def quantiles(metric, by=""):
    """50 and 99 of 100 of a histogram, by labels."""
    labels = f"le, {by}" if by else "le"
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",")) if by else ""
    return {
        f"{legend} p{q}".strip(): f"histogram_quantile(0.{q}, sum by ({labels}) (rate({metric}_bucket[{RATE}])))"
        for q in (50, 99)
    }


def rates(metric, by):
    legend = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(","))
    return {legend: f"sum by ({by}) (rate({metric}[{RATE}]))"}


CUTOVER = [
    stat("Dial", "Share of the buckets that the engine answers.", "max(crossfade_rollout_percent)", "percent"),
    stat("Stage", "The stage of the cutover.", "max by (stage) (crossfade_rollout_stage) == 1", legend="{{stage}}",
         text="name"),
    stat("Match rate, adjusted, 1 h", "Of the effect-bearing exchanges of the last hour: those that match, or differ only in order.",
         'max(crossfade_match_ratio{route="total", window="1h", kind="adjusted"})', "percentunit", green=0.999),
    stat("Gates closed", "While one is closed the dial goes up only by force: `crossfade rollout gates`.",
         "count(min by (gate) (crossfade_gate_ok) == 0) or vector(0)", red=1),
    stat("Open discrepancies", "Root mismatches that somebody has to settle: `crossfade discrepancies list`.",
         "sum(max by (cause) (crossfade_discrepancies_open))", red=1),
    stat("Unknown", "Exchanges of which nobody knows what a system made of them.",
         "sum(max by (system) (crossfade_unknown_unresolved))", red=1),
    panel("Match rate of the last minute", "Raw counts every difference; adjusted does not count those of order.",
          {"{{kind}}": 'max by (kind) (crossfade_match_ratio{route="total", window="1m"})'}, unit="percentunit", max=1),
    panel("Match rate by route, adjusted, 1 h", "A route that is worse than the others says where to look.",
          {"{{route}}": 'max by (route) (crossfade_match_ratio{route!="total", window="1h", kind="adjusted"})'},
          unit="percentunit", max=1),
    panel("Verdicts", "What the comparator says of the exchanges, per second.",
          rates("crossfade_exchanges_total", "verdict"), unit="ops"),
    panel("Authority", "Whose answer the clients got, per second: the dial at work.",
          rates("crossfade_exchanges_total", "authority"), unit="ops"),
    panel("Legs by result", "Legs that ended, per second, by system, role and what the result means.",
          rates("crossfade_leg_results_total", "system, role, class"), unit="ops"),
    panel("How long legs take", "From sending a leg to its whole answer.",
          quantiles("crossfade_leg_duration_seconds", "system, role"), unit="s"),
    panel("What the front adds", "From the whole request to the answer, less the authority's leg: the journal, and a handover.",
          quantiles("crossfade_front_added_seconds"), unit="s"),
    panel("Lag of the shadow legs", "Seconds since the result of the oldest leg that is not delivered.",
          {"to the {{system}}": "max by (system) (crossfade_relay_lag_seconds)"}, unit="s"),
    panel("Front's journal", "Records that the relay has not acknowledged: they grow while the relay or the log is away.",
          {"not acknowledged, {{instance}}": "crossfade_journal_unshipped"}),
    panel("Front's journal on disk", "At `front.journal_max_bytes` the front does what `journal_when_full` says.",
          {"{{instance}}": "crossfade_journal_bytes"}, unit="bytes"),
    panel("Gaps", "Exchanges that went on without a record, overtaken by a dial move, or could not be read. Each is to be explained.",
          {"without a record": "sum(crossfade_capture_gaps_total)", "overtaken": "sum(crossfade_overtaken_total)",
           "not readable": 'sum(crossfade_dead_letters_total{source="exchanges"})'}),
    panel("Gates", "1 is open. `gap`, `unknown`, `drained` and `fronts` have to be open before the dial goes up.",
          {"{{gate}}": "min by (gate) (crossfade_gate_ok)"}, max=1),
    panel("Discrepancies by cause", "Open ones. What they explain is counted as carried, not here.",
          {"{{cause}}": "max by (cause) (crossfade_discrepancies_open)"}),
    panel("Money at variance", "Sum of the offsets between the systems that open discrepancies explain, per currency.",
          {"{{currency}}": 'max by (currency) (crossfade_money_at_variance) or label_replace(vector(0), "currency", "none", "", "")'}),
    panel("Reconciled accounts", "Balances compared since the start, by what was found.",
          {"{{result}}": "sum by (result) (crossfade_reconciled_accounts_total)"}),
    panel("Cross-cohort and offered again", "Exchanges between accounts of different authorities, and legs that needed more than one offer.",
          {"cross-cohort": "sum(crossfade_cross_cohort_total)",
           "offered again: {{end}}": "sum by (end) (crossfade_legs_reoffered_total)"}),
]

ENGINE = [
    stat("Money from nowhere", "Sum over all shards of the absolute sum of their balances. Anything but 0 is an error.",
         "sum(max by (currency) (crossfade_conservation_error))", red=0.00000001),
    stat("Commands waiting", "Commands that have no outcome yet.",
         'sum(max by (partition) (crossfade_consumer_lag_records{topic="billing.commands"}))', red=1000),
    stat("Sagas open", "Transactions that wait for another shard.", "sum(max by (type) (crossfade_sagas_open))"),
    stat("Answer, p99", "From submitting a command to its answer.",
         f"histogram_quantile(0.99, sum by (le) (rate(crossfade_command_duration_seconds_bucket[{RATE}])))", "s", red=0.25),
    stat("Outcomes rejected", "Journal records that lost a race since the start. Two owners at a change of shards are normal.",
         "sum(crossfade_rejected_outcomes_total)"),
    stat("Dead letters", "Records that could not be processed: `crossfade dlq list`.", "sum(crossfade_dead_letters_total)",
         red=1),
    panel("Commands", "Accepted outcomes per second, by what was asked.", rates("crossfade_commands_total", "type"), unit="ops"),
    panel("What became of them", "Accepted outcomes per second, by answer.", rates("crossfade_commands_total", "result"), unit="ops"),
    panel("Transactions", "Per second, by type and status.", rates("crossfade_transactions_total", "type, status"), unit="ops"),
    panel("How long answers take", "From submitting a command to its answer, by what was asked.",
          quantiles("crossfade_command_duration_seconds", "type"), unit="s"),
    panel("How long queries take", "Waiting for the view included.", quantiles("crossfade_query_duration_seconds", "query"), unit="s"),
    panel("Appends to the log", "How long it takes until a batch is durable.", quantiles("crossfade_log_append_seconds"), unit="s"),
    panel("Commands waiting, by shard", "A shard that stands out has a hot account, or its owner is away.",
          {"shard {{partition}}": 'max by (partition) (crossfade_consumer_lag_records{topic="billing.commands"})'}),
    panel("Public events waiting, by shard",
          "Journal records whose events are not in the public topics. Clients do not notice; whoever reads the events does.",
          {"shard {{partition}}": 'max by (partition) (crossfade_consumer_lag_records{topic="billing.journal"})'}),
    panel("Projections behind, by shard", "Journal records that a projection in the database has not applied.",
          {"{{projection}} {{partition}}": "min by (projection, partition) (crossfade_projection_lag_records)"}),
    panel("From decision to projection", "Seconds until an outcome can be asked for in the database.",
          quantiles("crossfade_event_to_projection_seconds"), unit="s"),
    stat("Wrong rows", "Rows of a projection that are known to say something else than the log.",
         "max(crossfade_projection_mismatched_rows)", red=1),
    stat("Events with a whole envelope", "By whom, why and when: all of them have to say so.",
         "min(crossfade_audit_complete_ratio)", "percentunit", green=1),
    panel("Sagas open, by type", "A number that never goes down is a step that is never answered.",
          {"{{type}}": "max by (type) (crossfade_sagas_open)"}),
    panel("Outcomes rejected", "Per second. For long: two owners that do not hear of each other.",
          {"{{instance}}": f"rate(crossfade_rejected_outcomes_total[{RATE}])"}, unit="ops"),
]

KAFKA = [
    stat("Brokers", "Brokers that serve.", "count(kafka_server_broker_state == 3) or vector(0)", green=3),
    stat("Controllers", "There is exactly one.", "sum(kafka_controller_activecontrollercount)", green=1),
    stat("Offline partitions", "Partitions without a leader: nothing is read or written there.",
         "max(kafka_controller_offlinepartitionscount)", red=1),
    stat("Below min ISR", "Partitions that take no writes until a replica is back.",
         "sum(kafka_server_underminisrpartitioncount)", red=1),
    stat("Under-replicated", "Partitions with a replica that is behind or gone.",
         "sum(kafka_server_underreplicatedpartitions)", red=1),
    stat("Append, p99", "Until a batch of ours is on all replicas in sync.",
         f"histogram_quantile(0.99, sum by (le) (rate(crossfade_log_append_seconds_bucket[{RATE}])))", "s", red=1),
    panel("Our appends", "How long it takes until a batch is durable.", quantiles("crossfade_log_append_seconds"), unit="s"),
    panel("Our appends per second", "Batches; each may hold many records.",
          {"{{instance}}": f"rate(crossfade_log_append_seconds_count[{RATE}])"}, unit="ops"),
    panel("Commands waiting", "Records that the engine has not decided on, by partition.",
          {"{{topic}}/{{partition}}":
              'max by (topic, partition) (crossfade_consumer_lag_records{topic="billing.commands"})'}),
    panel("Records in, by topic", "Per second, over all brokers.", rates("kafka_server_topic_messagesin_total", "topic"), unit="ops"),
    panel("Bytes in", "Per second, by broker.", {"{{instance}}": f"rate(kafka_server_bytesin_total[{RATE}])"}, unit="Bps"),
    panel("Bytes out", "Per second, by broker; copies for the other brokers are not counted.",
          {"{{instance}}": f"rate(kafka_server_bytesout_total[{RATE}])"}, unit="Bps"),
    panel("Produce, at the broker", "Milliseconds, waiting for the replicas included.",
          {"{{instance}} p{{quantile}}": 'kafka_network_request_milliseconds{request="Produce"}'}, unit="ms"),
    panel("Requests", "Per second, by kind.", rates("kafka_network_requests_total", "request"), unit="ops"),
    panel("Idle request handlers", "A broker near 0 is at its limit.",
          {"{{instance}}": "kafka_server_request_handlers_idle_ratio"}, unit="percentunit", max=1),
    panel("Replicas that fell out of sync", "Per second, by broker.",
          {"{{instance}}": f"rate(kafka_server_isr_shrinks_total[{RATE}])"}, unit="ops"),
    panel("Size on disk, by topic", "One copy.", {"{{topic}}": "sum by (topic) (max by (topic, partition) (kafka_log_size_bytes))"},
          unit="bytes"),
    panel("Records ever, by topic", "End offsets, added up over the partitions.",
          {"{{topic}}": "sum by (topic) (max by (topic, partition) (kafka_log_end_offset))"}),
]

BOARDS = {
    "cutover": ("Crossfade: cutover", CUTOVER),
    "engine": ("Crossfade: engine", ENGINE),
    "kafka": ("Crossfade: Kafka", KAFKA),
}


def drawn(number, place, panel):
    """A panel as Grafana wants it."""
    options = panel["options"]
    defaults = {"unit": panel["unit"], "min": 0, "thresholds": {"mode": "absolute", "steps": options.get("steps", [])}}
    if "max" in options:
        defaults["max"] = options["max"]
    source = {"type": "prometheus", "uid": "${datasource}"}
    view = {
        "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "textMode": options.get("text", "value"), "colorMode": "background"},
        "timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
    }
    return {
        "id": number, "type": panel["kind"], "title": panel["title"], "description": panel["description"],
        "gridPos": {"x": place[0], "y": place[1], "w": panel["width"], "h": panel["height"]},
        "datasource": source, "fieldConfig": {"defaults": defaults, "overrides": []}, "options": view[panel["kind"]],
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": source, "expr": query, "legendFormat": legend}
            for index, (legend, query) in enumerate(panel["queries"].items())
        ],
    }


def board(name):
    """A whole board."""
    title, panels = BOARDS[name]
    x, y, tallest, all_drawn = 0, 0, 0, []
    for number, each in enumerate(panels, 1):
        if x + each["width"] > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        all_drawn.append(drawn(number, (x, y), each))
        x, tallest = x + each["width"], max(tallest, each["height"])
    variable = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    return {
        "uid": f"crossfade-{name}", "title": title, "tags": ["crossfade"], "schemaVersion": 39, "version": 1,
        "editable": True, "graphTooltip": 1, "refresh": "10s", "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser", "templating": {"list": [variable]}, "panels": all_drawn,
    }


def text(name):
    """A board as it stands in its file."""
    return json.dumps(board(name), indent=1) + "\n"


if __name__ == "__main__":
    for name in BOARDS:
        (HERE / f"{name}.json").write_text(text(name))
