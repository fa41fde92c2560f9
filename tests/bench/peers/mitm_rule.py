"""The same rule for mitmproxy: GET and HEAD below /pub/, anything else is 403."""
from mitmproxy import http


def request(flow: http.HTTPFlow) -> None:
    if flow.request.method not in ("GET", "HEAD") or not flow.request.path.startswith("/pub/"):
        flow.response = http.Response.make(403)
