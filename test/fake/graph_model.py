"""What Meta's ads objects are and do: the rules of the fake Graph API.

No HTTP here. A rule that is broken raises GraphError, which carries the codes
that the real API answers with.
"""

import datetime
import hashlib
import hmac
import re
import time

LIVE_VERSIONS = ("v25.0", "v26.0")
UPGRADED_VERSIONS = ("v24.0",)  # served by the next one, with a warning header

TYPES = {
    "account": {
        "read": {"id", "account_id", "name", "currency", "timezone_name", "account_status", "amount_spent", "balance",
                 "spend_cap", "min_daily_budget", "disable_reason"},
        "write": set(),
    },
    "campaign": {
        "read": {"id", "account_id", "name", "daily_budget", "lifetime_budget", "budget_remaining", "status",
                 "effective_status", "configured_status", "updated_time", "spend_cap", "bid_strategy", "objective",
                 "is_adset_budget_sharing_enabled", "last_budget_toggling_time"},
        "write": {"name", "daily_budget", "lifetime_budget", "status"},
    },
    "adset": {
        "read": {"id", "account_id", "campaign_id", "name", "daily_budget", "lifetime_budget", "budget_remaining",
                 "status", "effective_status", "configured_status", "updated_time", "learning_stage_info",
                 "daily_spend_cap", "bid_amount", "bid_strategy", "end_time", "issues_info"},
        "write": {"name", "daily_budget", "lifetime_budget", "status", "targeting"},
    },
    "ad": {
        "read": {"id", "account_id", "campaign_id", "adset_id", "name", "status", "effective_status",
                 "configured_status", "updated_time", "created_time", "creative"},
        "write": {"name", "status"},
    },
}
STATUSES = ("ACTIVE", "PAUSED", "DELETED", "ARCHIVED")
NODE_NAMES = {"account": "AdAccount", "campaign": "AdCampaignGroup", "adset": "AdCampaign", "ad": "Adgroup"}


class GraphError(Exception):
    def __init__(self, code, message, subcode=None, status=400, user_message=None, transient=None):
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "OAuthException", "code": code, "fbtrace_id": "FAKEtrace"}}
        if subcode is not None:
            self.body["error"]["error_subcode"] = subcode
        if user_message is not None:
            self.body["error"]["error_user_msg"] = user_message
        if transient is not None:
            self.body["error"]["is_transient"] = transient


class Graph:
    """All objects, and the clock they live by."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.objects = {}
        self.insights = []
        self.activities = []  # who changed a budget when, oldest first
        self.app_id = "app"  # of those who write by the API
        self.app_token = None  # what debug_token is asked with; None: any will do
        self.token_facts = {}  # of debug_token's answer, instead of those of a token in order
        self.changes = []  # every value that was set, also to what it was
        self.clock_offset = 0.0
        self.tokens = None  # None: any token will do
        self.app_secret = None  # None: appsecret_proof is not looked at
        self.minimum = 100  # minor units
        self.maximum = 100_000_000
        self.changes_per_hour = 4
        self.usage_headers = None  # instead of the honest ones
        self.points = {}  # account -> [(time, points)]
        self.max_points = None  # None: no point score

    def now(self):
        return time.time() + self.clock_offset

    # objects

    def create(self, fields):
        fields = dict(fields)
        kind = fields.pop("type")
        if kind not in TYPES:
            raise ValueError("unknown type of object")
        if kind == "account":
            number = str(fields["id"]).removeprefix("act_")
            item = {"id": "act_" + number, "account_id": number, "currency": "USD", "timezone_name": "UTC",
                    "account_status": 1}
        else:
            item = {"id": str(fields["id"]), "status": "ACTIVE", "effective_status": "ACTIVE"}
        item.update({name: value if isinstance(value, (bool, dict, list)) or value is None else str(value)
                     for name, value in fields.items() if name != "id"})
        if "account_id" in item:
            item["account_id"] = str(item["account_id"]).removeprefix("act_")
        if kind == "account":
            item["account_status"] = int(item["account_status"])
        record = {"type": kind, "fields": item, "spent_today": int(item.pop("spent_today", 0)), "budget_edits": [],
                  "blocked_until": 0.0}
        item["updated_time"] = self.stamp()
        self.objects[item["id"]] = record
        return record

    def stamp(self):
        return time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(self.now()))

    def find(self, identifier):
        record = self.objects.get(identifier)
        if record is None:
            raise GraphError(100, "Unsupported request. Object with ID '%s' does not exist, cannot be loaded due to "
                             "missing permissions, or does not support this operation." % identifier, 33)
        return record

    # who asks

    def check_version(self, version):
        if version in LIVE_VERSIONS or version in UPGRADED_VERSIONS:
            return
        if re.fullmatch(r"v\d{1,2}\.0", version):
            raise GraphError(2635, "(#2635) You are calling a deprecated version of the Ads API. "
                             "Please update to the latest version.")
        raise GraphError(2500, "Unknown path components: /%s" % version)

    def check_auth(self, token, proof):
        if not token:
            raise GraphError(104, "An access token is required to request this resource.")
        if self.tokens is not None and token not in self.tokens:
            raise GraphError(190, "Malformed access token " + token, None, 401)
        if self.app_secret is None:
            return
        if proof is None:
            raise GraphError(100, "API calls from the server require an appsecret_proof argument")
        right = hmac.new(self.app_secret.encode(), token.encode(), hashlib.sha256).hexdigest()
        if not hmac.compare_digest(proof, right):
            raise GraphError(104, "Incorrect signature")

    def spend_points(self, account, points):
        """The score of one account: what was spent in the last 300 seconds."""
        if self.max_points is None:
            return
        now = self.now()
        spent = [(at, cost) for at, cost in self.points.get(account, []) if at > now - 300]
        self.points[account] = spent
        if sum(cost for _, cost in spent) + points > self.max_points:
            raise GraphError(17, "User request limit reached", 2446079)
        spent.append((now, points))

    def debug_token(self, asker, token):
        """What the app is told of a token."""
        if asker is None or "|" not in asker or self.app_token not in (None, asker):
            raise GraphError(190, "Invalid OAuth access token signature.", None, 400)
        facts = {"is_valid": self.tokens is None or token in self.tokens, "expires_at": 0, "data_access_expires_at": 0,
                 "type": "SYSTEM_USER", "app_id": self.app_id, "scopes": ["ads_management", "ads_read"],
                 "granular_scopes": [{"scope": "ads_management"}, {"scope": "ads_read"}]}
        return {"data": {**facts, **self.token_facts}}

    # reads

    def note_activity(self, record, actor, app_id):
        """As the account's activity log tells it."""
        kind = {"adset": "update_ad_set_budget", "campaign": "update_campaign_budget"}.get(record["type"])
        if kind is not None:
            self.activities.append({"event_time": self.stamp(), "event_type": kind, "object_id": record["fields"]["id"],
                                    "actor_name": actor, "application_id": app_id, "extra_data": "{}",
                                    "account_id": record["fields"].get("account_id"), "at": self.now()})

    def activities_of(self, identifier, since, fields):
        """The newest first."""
        account = self.find(identifier)["fields"]["account_id"]
        return [{name: row[name] for name in fields or ("event_time", "event_type", "object_id") if name in row}
                for row in reversed(self.activities) if row["account_id"] == account and row["at"] >= since]

    def read(self, identifier, fields):
        record = self.find(identifier)
        self.spend_points(record["fields"].get("account_id"), 1)
        return self.pick(record, fields)

    def pick(self, record, fields):
        known = TYPES[record["type"]]["read"]
        for name in fields:
            if name not in known:
                raise GraphError(100, "(#100) Tried accessing nonexisting field (%s) on node type (%s)"
                                 % (name, NODE_NAMES[record["type"]]))
        values = record["fields"]
        answer = {name: values[name] for name in fields if values.get(name) is not None}
        answer["id"] = values["id"]
        return answer

    def edge(self, identifier, kind):
        parent = self.find(identifier)
        self.spend_points(parent["fields"].get("account_id"), 1)
        key = {"account": "account_id", "campaign": "campaign_id", "adset": "adset_id"}[parent["type"]]
        value = parent["fields"]["account_id"] if parent["type"] == "account" else parent["fields"]["id"]
        return [record for record in self.objects.values()
                if record["type"] == kind and record["fields"].get(key) == value]

    # writes

    def write(self, identifier, params):
        """Set what the type knows, ignore the rest, as the real one does."""
        record = self.find(identifier)
        fields = record["fields"]
        self.spend_points(fields.get("account_id"), 3)
        wanted = {name: value for name, value in params.items() if name in TYPES[record["type"]]["write"]}
        if fields.get("status") == "DELETED" and set(wanted) - {"name"}:
            raise GraphError(100, "Invalid parameter", 1487056,
                             user_message="This ad set has been deleted, so you can only edit the name.")
        if "status" in wanted and wanted["status"] not in STATUSES:
            raise GraphError(100, "(#100) Param status must be one of {ACTIVE, PAUSED, DELETED, ARCHIVED}")
        for name in ("daily_budget", "lifetime_budget"):
            if name in wanted:
                self.check_budget(record, wanted[name])
        if "validate_only" in params.get("execution_options", ""):
            return {"success": True}
        for name, value in wanted.items():
            self.changes.append({"id": identifier, "field": name, "old": fields.get(name), "new": value,
                                 "at": self.now()})
            fields[name] = value
            if name == "daily_budget":
                record["budget_edits"].append(self.now())
                self.note_activity(record, "artery", self.app_id)
            if name == "status":
                fields["effective_status"] = value
        fields["updated_time"] = self.stamp()
        return {"success": True}

    def check_budget(self, record, text):
        fields = record["fields"]
        if not re.fullmatch(r"\d{1,15}", text):
            raise GraphError(100, "(#100) Param daily_budget must be an integer")
        value = int(text)
        if record["type"] == "adset" and self.has_budget(self.objects.get(fields.get("campaign_id"))):
            raise GraphError(100, "Invalid parameter", 1885621,
                             user_message="You can only set an ad set budget or a campaign budget.")
        if value < self.minimum:
            raise GraphError(100, "Invalid parameter", 1885272, user_message="Budget is too low.")
        if value > self.maximum:
            raise GraphError(100, "Invalid parameter", 1885261, user_message="budget exceeds the 1M USD cap")
        if value * 10 < record["spent_today"] * 11:
            raise GraphError(100, "Invalid parameter", 1885650, user_message="Your budget is too low. This minimum "
                             "amount is required to account for any spending that occurs while your budget is updated.")
        self.check_frequency(record)

    def has_budget(self, campaign):
        return campaign is not None and any(int(campaign["fields"].get(name) or 0) > 0
                                            for name in ("daily_budget", "lifetime_budget"))

    def check_frequency(self, record):
        if record["type"] != "adset":
            return
        now = self.now()
        recent = [at for at in record["budget_edits"] if at > now - 3600]
        if len(recent) >= self.changes_per_hour and record["blocked_until"] <= now:
            record["blocked_until"] = now + 3600
        if record["blocked_until"] > now:
            raise GraphError(613, "You can only change your ad set budget 4 times per hour. "
                             "Please wait to make more changes.", 1487632)

    # insights

    def days_between(self, since, until):
        return (datetime.date.fromisoformat(until) - datetime.date.fromisoformat(since)).days

    def insights_of(self, identifier, since, until):
        parent = self.find(identifier)
        key = {"account": "account_id", "campaign": "campaign_id", "adset": "adset_id", "ad": "ad_id"}[parent["type"]]
        value = parent["fields"]["account_id"] if parent["type"] == "account" else parent["fields"]["id"]
        return [row for row in self.insights if row.get(key) == value and since <= row["date_start"] <= until]
