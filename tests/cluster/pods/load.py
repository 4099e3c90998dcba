"""In a pod: an open-loop Poisson load on a URL; the last line on stdout says what came back."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

from serving.loadgen import Sample, Target, quantile, run_load
from serving.poisson import LoadCurve, poisson_arrivals


def main(url: str, rate_rps: float, seconds: int, body: str) -> None:
    answers: Counter[str] = Counter()
    statuses: Counter[int] = Counter()

    def note(sample: Sample, answer: bytes) -> None:
        statuses[sample.status] += 1
        if not sample.lost:
            answers[json.dumps(json.loads(answer)["outputs"][0]["data"])] += 1

    arrivals = poisson_arrivals(LoadCurve(rates_rps=(rate_rps,) * seconds), seed=1)
    result = asyncio.run(
        run_load(Target(url=url, timeout_s=20.0), arrivals, [body.encode()], on_answer=note)
    )
    latencies_s = [sample.latency_s for sample in result.samples]
    said = {
        "started_s": result.started_s,
        "requests": len(result.samples),
        "lost": result.lost,
        "lost_at_s": [round(s.scheduled_s, 2) for s in result.samples if s.lost][:20],
        "statuses": statuses,
        "answers": answers,
        "p50_s": quantile(latencies_s, 0.5),
        "p99_s": quantile(latencies_s, 0.99),
    }
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
