#!/usr/bin/python3
"""A fake of Meta's Graph API, and of HubSpot's, in memory, for tests and the demo. See README.md."""

import argparse
import asyncio
import json
import os
import re
import sys

from aiohttp import web

from hubspot import Hubspot
from insights import Insights
from graph_model import UPGRADED_VERSIONS, Graph, GraphError

PAGE = 25  # rows of a page unless asked otherwise


class Fault:
    """Something to go wrong for the requests it matches, so many times."""

    def __init__(self, spec):
        self.spec = spec
        self.left = spec.get("times", 1)
        self.match = spec.get("match", {})

    def fits(self, method, path, params):
        if self.left == 0 or method != self.match.get("method", method):
            return False
        if not re.search(self.match.get("path", ""), path):
            return False
        return all(params.get(name) == str(value) for name, value in self.match.get("params", {}).items())


class Api:
    def __init__(self):
        self.graph = Graph()
        self.insights = Insights(self.graph)
        self.hubspot = Hubspot(self.graph.now)
        self.paging_as_new()
        self.faults = []
        self.log = []
        self.in_flight = 0
        self.max_in_flight = 0

    def paging_as_new(self):
        self.empty_pages = False  # before every page with rows one without
        self.most_rows = 500  # of a page, whatever was asked

    # the Graph API

    async def handle(self, request):
        form = request.content_type == "application/x-www-form-urlencoded"
        params = {**request.query, **(await request.post() if request.method == "POST" and form else {})}
        request["text"] = "" if form else await request.text()
        entry = {"n": len(self.log) + 1, "at": self.graph.now(), "method": request.method, "path": request.path,
                 "params": {name: value for name, value in params.items() if name not in ("access_token", "input_token")},
                 "token_in_url": "access_token" in request.query,
                 "has_proof": "appsecret_proof" in params, "status": None, "fault": None,
                 "connection": (request.transport.get_extra_info("peername") or (None, None))[1]}
        self.log.append(entry)
        self.in_flight += 1
        self.max_in_flight = max(self.max_in_flight, self.in_flight)
        try:
            response = await self.answer(request, params, entry)
            entry["status"] = response.status
            return response
        finally:
            self.in_flight -= 1

    async def answer(self, request, params, entry):
        fault = self.take_fault(request, params)
        if fault is None:
            return self.to_response(*self.work(request, params))
        kind = fault.get("kind", "error" if "error" in fault else "pass")
        entry["fault"] = kind
        if fault.get("delay"):
            await asyncio.sleep(fault["delay"])
        return await self.go_wrong(kind, fault, request, params)

    async def go_wrong(self, kind, fault, request, params):
        """kinds that end in _after apply the request first; the others do not, but for pass and truncated."""
        if kind == "pass":
            return self.to_response(*self.work(request, params))
        if kind == "close_before":
            return self.drop(request)
        if kind == "close_after":
            self.work(request, params)
            return self.drop(request)
        if kind == "delay_after":
            result = self.work(request, params)
            await asyncio.sleep(fault.get("seconds", 10))
            return self.to_response(*result)
        if kind == "error_after":
            self.work(request, params)
            kind = "error"
        if kind == "ignore":
            return self.to_response(200, {"success": True}, {})
        if kind == "truncated":
            _, body, headers = self.work(request, params)
            text = json.dumps(body)
            return web.Response(status=200, text=text[:len(text) // 2], headers=headers)
        if kind == "error":
            body = fault.get("body")
            if body is None:
                error = {"message": "injected", "type": "OAuthException", "code": 1, "fbtrace_id": "FAKEtrace"}
                body = json.dumps({"error": {**error, **fault.get("error", {})}})
            return web.Response(status=fault.get("status", 400), text=body, headers=fault.get("headers", {}))
        if kind == "bytes":
            return web.Response(status=fault.get("status", 200), body=bytes.fromhex(fault["hex"]))
        raise web.HTTPInternalServerError(text="unknown kind of fault: " + kind)

    def take_fault(self, request, params):
        for fault in self.faults:
            if fault.fits(request.method, request.path, params):
                if fault.left > 0:
                    fault.left -= 1
                return fault.spec
        return None

    def drop(self, request):
        request.transport.abort()
        return web.Response(status=499)

    def work(self, request, params):
        """Do what is asked; returns status, body and headers."""
        if request.path.startswith("/crm/"):
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            return self.hubspot.work(request.method, request.path, token, request["text"])
        try:
            version, *path = request.path.strip("/").split("/")
            self.graph.check_version(version)
            scheme, _, token = request.headers.get("Authorization", "").partition(" ")
            if path == ["debug_token"]:
                return 200, self.graph.debug_token(token, params.get("input_token")), {}
            self.graph.check_auth(token if scheme == "Bearer" else params.get("access_token"),
                                  params.get("appsecret_proof"))
            headers = {"X-Ad-Api-Version-Warning": "upgraded"} if version in UPGRADED_VERSIONS else {}
            body = self.route(request.method, path, params)
            return 200, body, {**self.usage(path), **headers}
        except GraphError as error:
            return error.status, error.body, self.usage([])

    def route(self, method, path, params):
        fields = [name for name in params.get("fields", "").split(",") if name]
        if len(path) == 1 and method == "GET" and path[0] in self.insights.reports:
            return self.insights.look(path[0])
        if len(path) == 2 and path[0] in self.insights.reports:
            return self.page(self.insights.report_rows(path[0]), params)
        if len(path) == 2 and path[1] == "insights" and method == "POST":
            return self.insights.start(path[0], params)
        if len(path) == 1 and method == "GET":
            return self.graph.read(path[0], fields)
        if len(path) == 1 and method == "POST":
            return self.graph.write(path[0], params)
        if len(path) == 2 and method == "GET":
            return self.read_edge(path[0], path[1], fields, params)
        raise GraphError(2500, "Unknown path components: /" + "/".join(path))

    def read_edge(self, identifier, edge, fields, params):
        kinds = {"campaigns": "campaign", "adsets": "adset", "ads": "ad"}
        if edge in kinds:
            return self.page([self.graph.pick(record, fields) for record in self.graph.edge(identifier, kinds[edge])],
                             params)
        if edge == "insights":
            return self.page(self.insights.rows(identifier, params), params)
        if edge == "activities":
            return self.page(self.graph.activities_of(identifier, float(params.get("since", 0)), fields), params)
        if edge == "minimum_budgets":
            currency = self.graph.find(identifier)["fields"]["currency"]
            rows = [{"currency": name, "min_daily_budget_imp": self.graph.minimum * (1 if name == currency else 7),
                     "min_daily_budget_high_freq": self.graph.minimum * 5} for name in ("XTS", currency)]
            return self.page(rows, params)
        raise GraphError(2500, "Unknown path components: /" + edge)

    def page(self, rows, params):
        """Cursors are offsets; like the real ones they mean nothing to the caller."""
        start = params.get("after", "0")
        if self.empty_pages and not start.startswith("e"):
            return {"data": [], "paging": {"cursors": {"before": start, "after": "e" + start},
                                           "next": "https://graph.invalid/next"}}
        start = int(start.removeprefix("e"))
        size = min(int(params.get("limit", PAGE)), self.most_rows)
        answer = {"data": rows[start:start + size], "paging": {"cursors": {"before": str(start),
                                                                           "after": str(start + size)}}}
        if start + size < len(rows):
            answer["paging"]["next"] = "https://graph.invalid/next"
        return answer

    def usage(self, path):
        if self.graph.usage_headers is not None:
            return self.graph.usage_headers
        account = "0"
        if path and path[0] in self.graph.objects:
            account = self.graph.objects[path[0]]["fields"].get("account_id", "0")
        entry = {"type": "ads_management", "call_count": 1, "total_cputime": 1, "total_time": 1,
                 "estimated_time_to_regain_access": 0, "ads_api_access_tier": "development_access"}
        return {"X-Business-Use-Case-Usage": json.dumps({account: [entry]})}

    def to_response(self, status, body, headers):
        return web.json_response(body, status=status, headers=headers)

    # the test's own door

    async def create_objects(self, request):
        given = await request.json()
        for fields in given if isinstance(given, list) else [given]:
            self.graph.create(fields)
        return web.json_response({"objects": len(self.graph.objects)})

    async def show_object(self, request):
        record = self.graph.objects.get(request.match_info["id"])
        if record is None:
            raise web.HTTPNotFound(text="no such object")
        return web.json_response({"type": record["type"], "spent_today": record["spent_today"], **record["fields"]})

    async def edit_object(self, request):
        """As a person would in Ads Manager: no rules, and no entry among the changes."""
        record = self.graph.objects.get(request.match_info["id"])
        if record is None:
            raise web.HTTPNotFound(text="no such object")
        given = await request.json()
        actor = given.pop("actor", "A Person")
        record["spent_today"] = int(given.pop("spent_today", record["spent_today"]))
        record["fields"].update({name: value if value is None else str(value) for name, value in given.items()})
        record["fields"]["updated_time"] = self.graph.stamp()
        if "daily_budget" in given:
            self.graph.note_activity(record, actor, "ads_manager")
        return web.json_response(record["fields"])

    async def add_faults(self, request):
        given = await request.json()
        self.faults += [Fault(spec) for spec in (given if isinstance(given, list) else [given])]
        return web.json_response({"faults": len(self.faults)})

    async def add_urgent_faults(self, request):
        """Before those that are there already."""
        given = await request.json()
        self.faults[:0] = [Fault(spec) for spec in (given if isinstance(given, list) else [given])]
        return web.json_response({"faults": len(self.faults)})

    async def clear_faults(self, request):
        self.faults = []
        return web.json_response({})

    async def show_log(self, request):
        return web.json_response({"requests": self.log, "max_in_flight": self.max_in_flight})

    async def clear_log(self, request):
        self.log = []
        self.max_in_flight = 0
        return web.json_response({})

    async def show_changes(self, request):
        return web.json_response(self.graph.changes)

    async def add_insights(self, request):
        self.graph.insights += [{name: str(value) for name, value in row.items()} for row in await request.json()]
        return web.json_response({"rows": len(self.graph.insights)})

    async def configure(self, request):
        """what the graph, Insights, HubSpot and the pages have as settings; see README.md"""
        for name, value in (await request.json()).items():
            for owner in (self.graph, self.insights, self.hubspot, self):
                if hasattr(owner, name):
                    setattr(owner, name, value)
                    break
            else:
                raise web.HTTPBadRequest(text="unknown setting: " + name)
        return web.json_response({})

    async def reset(self, request):
        self.graph.reset()
        self.insights.reset()
        self.hubspot.reset()
        self.paging_as_new()
        self.faults = []
        self.log = []
        self.max_in_flight = 0
        return web.json_response({})

    def application(self):
        application = web.Application(client_max_size=16 << 20)
        application.add_routes([
            web.post("/_control/objects", self.create_objects),
            web.get("/_control/objects/{id}", self.show_object),
            web.patch("/_control/objects/{id}", self.edit_object),
            web.post("/_control/faults", self.add_faults),
            web.post("/_control/faults/first", self.add_urgent_faults),
            web.delete("/_control/faults", self.clear_faults),
            web.get("/_control/log", self.show_log),
            web.delete("/_control/log", self.clear_log),
            web.get("/_control/changes", self.show_changes),
            web.post("/_control/insights", self.add_insights),
            web.post("/_control/settings", self.configure),
            web.post("/_control/reset", self.reset),
            web.route("*", "/{path:.*}", self.handle),
        ])
        return application


async def serve(arguments):
    runner = web.AppRunner(Api().application(), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", arguments.port)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    if arguments.port_file:
        with open(arguments.port_file + ".new", "w") as file:
            file.write("%d\n" % port)
        os.rename(arguments.port_file + ".new", arguments.port_file)
    print(port, flush=True)
    while True:
        await asyncio.sleep(3600)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--port-file", help="written when the server listens")
    try:
        asyncio.run(serve(parser.parse_args()))
    except KeyboardInterrupt:
        sys.exit(0)


if __name__ == "__main__":
    main()
