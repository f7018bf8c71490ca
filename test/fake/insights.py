"""Insights of the fake Graph API: rows of a day, and reports that are made in the background."""

import json

from graph_model import GraphError


class Insights:
    """What /insights answers; reports become ready after so many looks at them."""

    def __init__(self, graph):
        self.graph = graph
        self.reset()

    def reset(self):
        self.most_days = None  # more days at once are refused; None: any will do
        self.most_report_days = None  # reports of more days fail
        self.polls = 1  # looks at a report until it is ready
        self.reports = {}

    def rows(self, identifier, params):
        """As one request; too much of it is refused with the code that asks for less."""
        span = self.span(params)
        if self.most_days is not None and span["days"] > self.most_days:
            raise GraphError(100, "Please reduce the amount of data you're asking for, then retry your request",
                             1487534)
        return self.pick(identifier, span, params)

    def start(self, identifier, params):
        span = self.span(params)
        failed = self.most_report_days is not None and span["days"] > self.most_report_days
        number = str(6000 + len(self.reports))
        self.reports[number] = {"rows": [] if failed else self.pick(identifier, span, params),
                                "failed": failed, "looks": 0}
        return {"report_run_id": number}

    def look(self, number):
        report = self.reports[number]
        report["looks"] += 1
        if report["looks"] <= self.polls:
            # 100 percent alone is no success
            return {"id": number, "async_status": "Job Running", "async_percent_completion": 100}
        status = "Job Failed" if report["failed"] else "Job Completed"
        return {"id": number, "async_status": status, "async_percent_completion": 100}

    def report_rows(self, number):
        return self.reports[number]["rows"]

    def pick(self, identifier, span, params):
        fields = [name for name in params.get("fields", "").split(",") if name]
        return [{name: value for name, value in row.items() if name in fields or name in ("date_start", "date_stop")}
                for row in self.graph.insights_of(identifier, span["since"], span["until"])]

    def span(self, params):
        given = json.loads(params.get("time_range", '{"since":"2000-01-01","until":"2099-12-31"}'))
        given["days"] = 1 + int(self.graph.days_between(given["since"], given["until"]))
        return given
