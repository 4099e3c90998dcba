"""The panels of the dashboard: what each shows, in which unit, by which queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workflows.numbers import MODES, STATUSES

OF = 'namespace="$namespace",pipeline="$pipeline"'
PAIR = "namespace, pipeline"
STAGE = "stage, variant"


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel: ``queries`` maps legends to PromQL; ``kind`` is Grafana's name of the panel."""

    title: str
    says: str
    unit: str
    queries: Mapping[str, str]
    kind: str = "timeseries"
    width: int = 8
    states: Mapping[str, int] = field(default_factory=dict)
    lowest: float | None = 0.0


def one(metric: str) -> str:
    """Return the query of one number of the pipeline."""
    return f"max by ({PAIR}) ({metric}{{{OF}}})"


def by(labels: str, metric: str) -> str:
    """Return the query of one number for each of some labels."""
    return f"max by ({labels}) ({metric}{{{OF}}})"


def per_second(labels: str, metric: str, more: str = "") -> str:
    """Return the query of a counter's rate, summed by labels."""
    return f"sum by ({labels}) (rate({metric}{{{OF}{more}}}[$__rate_interval]))"


def quantile(q: float, labels: str, metric: str, more: str = "") -> str:
    """Return the query of a histogram's quantile, by labels."""
    inner = per_second(f"{labels}, le", f"{metric}_bucket", more)
    return f"histogram_quantile({q:g}, {inner})"


def mean(labels: str, metric: str) -> str:
    """Return the query of a histogram's mean, by labels."""
    total, count = (per_second(labels, f"{metric}_{part}") for part in ("sum", "count"))
    return f"{total} / {count}"


OVERVIEW = (
    Panel(
        title="Load, forecast, capacity",
        says="What arrives, what was planned for, what the plan in force carries and what is shed.",
        unit="reqps",
        width=12,
        queries={
            "arriving": f"penstock:arrivals:rate1m{{{OF}}}",
            "planned for": f"penstock:forecast:rps{{{OF}}}",
            "capacity": f"penstock:plan_capacity:rps{{{OF}}}",
            "shed": one("penstock_plan_shed_rps"),
        },
    ),
    Panel(
        title="Latency against the SLO",
        says="End to end, at the gateway; the promise is the plan's own when it was made.",
        unit="s",
        width=12,
        queries={
            "p50": quantile(0.5, PAIR, "penstock_request_seconds"),
            "p95": quantile(0.95, PAIR, "penstock_request_seconds"),
            "p99": quantile(0.99, PAIR, "penstock_request_seconds"),
            "SLO": one("penstock_slo_latency_seconds"),
            "promised": one("penstock_plan_latency_seconds"),
        },
    ),
    Panel(
        title="SLO attainment",
        says="Share of requests answered in time and without a failure, against the SLO's share.",
        unit="percentunit",
        lowest=None,
        queries={
            "5 min": f"1 - penstock:slo_misses:ratio_rate5m{{{OF}}}",
            "1 h": f"1 - penstock:slo_misses:ratio_rate1h{{{OF}}}",
            "objective": one("penstock_slo_quantile_ratio"),
        },
    ),
    Panel(
        title="Answers by code",
        says="503: a queue was full; 502 and 504: the graph was not reached, or was too slow.",
        unit="reqps",
        queries={"{{code}}": per_second("code", "penstock_requests_total")},
    ),
    Panel(
        title="In flight",
        says="Requests that arrived and are not answered yet.",
        unit="short",
        queries={"in flight": f"sum by ({PAIR}) (penstock_in_flight{{{OF}}})"},
    ),
    Panel(
        title="Accuracy promised",
        says="Of the plan in force, measured end to end where that was done; 0 is no floor.",
        unit="percentunit",
        width=12,
        queries={
            "plan": one("penstock_plan_accuracy_ratio"),
            "floor": one("penstock_accuracy_floor_ratio"),
        },
    ),
    Panel(
        title="Cost",
        says="Cores of all replicas of the plan in force.",
        unit="short",
        width=12,
        queries={"cores": one("penstock_plan_cores")},
    ),
)
PLAN = (
    Panel(
        title="Variants",
        says="Which variant of each stage the plan in force uses, with how many replicas.",
        unit="short",
        kind="state-timeline",
        width=24,
        queries={"{{stage}}/{{variant}}": f"penstock:replicas:planned{{{OF}}}"},
        states={"off": 0},
    ),
    Panel(
        title="Replicas wanted",
        says="Of the plan in force.",
        unit="short",
        queries={"{{stage}}": f"sum by (stage) (penstock:replicas:planned{{{OF}}})"},
    ),
    Panel(
        title="Replicas ready",
        says="Replicas that take requests and are scraped; in a switch those of two variants.",
        unit="short",
        queries={"{{stage}}/{{variant}}": f"penstock:replicas:ready{{{OF}}}"},
    ),
    Panel(
        title="Batch limits",
        says="What the plan wants, and what the predictors have in force.",
        unit="short",
        queries={
            "{{stage}} wanted": by("stage", "penstock_plan_batch_size"),
            "{{stage}}/{{variant}} in force": by(STAGE, "penstock_predictor_max_batch_size"),
        },
    ),
    Panel(
        title="Given up",
        says="What the best plan there is does not keep: 1 for each limit, 0 for the others.",
        unit="short",
        queries={"{{limit}}": by("limit", "penstock_plan_given_up")},
    ),
)
SERVING = (
    Panel(
        title="Queue time",
        says="How long a request waits for the model.",
        unit="s",
        queries={
            "{{stage}}/{{variant}} p50": quantile(0.5, STAGE, "penstock_predictor_queue_seconds"),
            "{{stage}}/{{variant}} p95": quantile(0.95, STAGE, "penstock_predictor_queue_seconds"),
        },
    ),
    Panel(
        title="Service time",
        says="How long one model call takes, its share of a core included.",
        unit="s",
        queries={
            "{{stage}}/{{variant}} p50": quantile(0.5, STAGE, "penstock_predictor_service_seconds"),
            "{{stage}}/{{variant}} p95": quantile(
                0.95, STAGE, "penstock_predictor_service_seconds"
            ),
        },
    ),
    Panel(
        title="Batch size",
        says="Requests per model call, on average.",
        unit="short",
        queries={"{{stage}}/{{variant}}": mean(STAGE, "penstock_predictor_batch_size")},
    ),
    Panel(
        title="In flight and waiting",
        says="Requests accepted and not answered, and those of them that wait for the model.",
        unit="short",
        queries={
            "{{stage}}/{{variant}} in flight": (
                f"sum by ({STAGE}) (penstock_predictor_in_flight{{{OF}}})"
            ),
            "{{stage}}/{{variant}} waiting": (
                f"sum by ({STAGE}) (penstock_predictor_queue_length{{{OF}}})"
            ),
        },
    ),
    Panel(
        title="Answers by stage",
        says="503 is a request that was dropped because the queue was full.",
        unit="reqps",
        queries={
            "{{stage}}/{{variant}} {{code}}": per_second(
                f"{STAGE}, code", "penstock_predictor_requests_total"
            )
        },
    ),
    Panel(
        title="Time to load",
        says="From the start of a predictor's process to its readiness: what a new replica costs.",
        unit="s",
        queries={"{{stage}}/{{variant}}": by(STAGE, "penstock_predictor_model_load_seconds")},
    ),
)
CONTROLLER = (
    Panel(
        title="Age of the last success",
        says="How long ago a tick last ended without a failure, and how long ago one ended at all.",
        unit="s",
        queries={
            "success": f"time() - {one('penstock_last_success_timestamp_seconds')}",
            "any": f"time() - {one('penstock_last_tick_timestamp_seconds')}",
        },
    ),
    Panel(
        title="Decisions",
        says="Ticks by what was decided and how it ended, in five minutes.",
        unit="short",
        queries={
            "{{decision}} {{result}}": (
                f"sum by (decision, result) (increase(penstock_ticks_total{{{OF}}}[5m]))"
            )
        },
    ),
    Panel(
        title="Mode",
        says="What a tick may do.",
        unit="short",
        kind="state-timeline",
        queries={"mode": one("penstock_mode")},
        states=MODES,
    ),
    Panel(
        title="Tick by phase",
        says="How long the parts of a tick take; apply waits for pods in a switch.",
        unit="s",
        queries={"{{part}}": mean("part", "penstock_tick_seconds")},
    ),
    Panel(
        title="Solve time",
        says="Of the solver alone.",
        unit="s",
        queries={
            f"p{percent}": quantile(percent / 100, PAIR, "penstock_tick_seconds", ',part="solve"')
            for percent in (50, 95)
        },
    ),
    Panel(
        title="Gap",
        says="Distance of the best plan to the proven bound; 0 is proven best.",
        unit="percentunit",
        queries={"gap": one("penstock_solver_gap_ratio")},
    ),
    Panel(
        title="Solver",
        says="How the solve of the newest tick ended.",
        unit="short",
        kind="state-timeline",
        queries={"status": one("penstock_solver_status")},
        states=STATUSES,
    ),
    Panel(
        title="What ticks do not trust",
        says="Kinds of faults in the load data, and whether the load predictor was stood in for.",
        unit="short",
        queries={
            "load faults": one("penstock_load_faults"),
            "forecast fallback": one("penstock_forecast_fallback"),
            "standing still": f"1 - {one('penstock_tick_solved')}",
        },
    ),
    Panel(
        title="What is out of hand",
        says="Services in quarantine, fields that others changed, replicas that are missing.",
        unit="short",
        queries={
            "quarantined": one("penstock_quarantined_services"),
            "edited fields": one("penstock_edited_fields"),
            "missing replicas": f"sum by ({PAIR}) (penstock:replicas:missing{{{OF}}})",
        },
    ),
)
ROWS: Mapping[str, Sequence[Panel]] = {
    "Overview": OVERVIEW,
    "Plan": PLAN,
    "Serving, per stage": SERVING,
    "Controller": CONTROLLER,
}
