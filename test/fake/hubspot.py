"""A fake of HubSpot's CRM API where artery touches it: a deal with its contacts, further pages of them, their properties."""

import json
import re

VERSION = re.compile(r"^\d{4}-\d{2}$")


class HubspotError(Exception):
    def __init__(self, status, category, message, **more):
        super().__init__(message)
        self.status = status
        self.headers = more.pop("headers", {})
        self.body = {"status": "error", "message": message, "correlationId": "fake", "category": category, **more}


class Hubspot:
    """deals: id -> ids of contacts; contacts: id -> properties; merged: old id -> the one that stays."""

    def __init__(self, clock):
        self.clock = clock
        self.reset()

    def reset(self):
        self.hubspot_deals = {}
        self.hubspot_contacts = {}
        self.hubspot_merged = {}
        self.hubspot_tokens = None  # those that are let in; None: any
        self.hubspot_scopes = True  # or a 403
        self.hubspot_page = 100  # contacts in a page of a deal's
        self.hubspot_most = None  # requests in any ten seconds
        self.asked_at = []

    def work(self, method, path, token, text):
        """status, body and headers"""
        try:
            self.check(token)
            return 200, self.route(method, path, text), {"X-HubSpot-RateLimit-Max": "100"}
        except HubspotError as error:
            return error.status, error.body, error.headers

    def check(self, token):
        if not token or (self.hubspot_tokens is not None and token not in self.hubspot_tokens):
            raise HubspotError(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.")
        if not self.hubspot_scopes:
            raise HubspotError(403, "MISSING_SCOPES", "This app hasn't been granted all required scopes to make this call.")
        now = self.clock()
        self.asked_at = [at for at in self.asked_at if at > now - 10] + [now]
        if self.hubspot_most is not None and len(self.asked_at) > self.hubspot_most:
            raise HubspotError(429, "RATE_LIMITS", "You have reached your ten_secondly_rolling limit.",
                               errorType="RATE_LIMIT", policyName="TEN_SECONDLY_ROLLING")

    def route(self, method, path, text):
        parts = path.strip("/").split("/")[1:]  # without crm
        given = json.loads(text) if text else {}
        if len(parts) >= 3 and VERSION.match(parts[1]):
            if method == "GET" and parts[0] == "objects" and parts[2] == "deals" and len(parts) == 4:
                return self.deal(parts[3])
            if method == "POST" and parts[0] == "associations" and parts[2:] == ["deals", "contacts", "batch", "read"]:
                return self.associations(given["inputs"][0])
            if method == "POST" and parts[0] == "objects" and parts[2:] == ["contacts", "batch", "read"]:
                return self.read_contacts(given)
        raise HubspotError(404, "NOT_FOUND", "Unable to find route")

    def of_deal(self, identifier):
        if identifier not in self.hubspot_deals:
            raise HubspotError(404, "OBJECT_NOT_FOUND", "resource not found")
        return self.hubspot_deals[identifier]

    def page(self, identifier, start):
        contacts = self.of_deal(identifier)
        end = start + self.hubspot_page
        more = {"paging": {"next": {"after": "c%d" % end, "link": "https://hubspot.invalid/next"}}} if end < len(contacts) else {}
        return contacts[start:end], more

    def deal(self, identifier):
        contacts, more = self.page(identifier, 0)
        answer = {"id": identifier, "properties": {"hs_object_id": identifier}, "archived": False}
        if contacts:
            # once for each kind of association
            named = [{"id": contact, "type": kind} for contact in contacts for kind in ("deal_to_contact", "a_label")]
            answer["associations"] = {"contacts": {"results": named, **more}}
        return answer

    def associations(self, given):
        contacts, more = self.page(given["id"], int(given.get("after", "c0")[1:]))
        return {"status": "COMPLETE", "results": [
            {"from": {"id": given["id"]}, "to": [{"toObjectId": int(contact), "associationTypes": [
                {"category": "HUBSPOT_DEFINED", "typeId": 3, "label": None}]} for contact in contacts], **more}]}

    def read_contacts(self, given):
        if len(given["inputs"]) > 100:
            raise HubspotError(400, "VALIDATION_ERROR", "too many inputs")
        found = {}
        for entry in given["inputs"]:
            identifier = self.hubspot_merged.get(entry["id"], entry["id"])
            if identifier in self.hubspot_contacts:
                known = self.hubspot_contacts[identifier]
                # what is not a property is passed over, what has no value is null
                found[identifier] = {name: known.get(name) for name in given["properties"]}
        return {"status": "COMPLETE", "results": [{"id": identifier, "properties": properties, "archived": False}
                                                  for identifier, properties in found.items()]}
