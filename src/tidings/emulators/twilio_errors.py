"""What Twilio answers when it refuses: `{code, message, more_info, status}` ("REST API: error responses").

Codes are Twilio's; texts that were not seen are written from its dictionary's titles.
"""

import msgspec

from tidings.emulators.exchange import Response

_JSON = ("content-type", "application/json")
_HTML_502 = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"

_WORDS = {
    20003: "Authenticate",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    21211: "Invalid 'To' Phone Number",
    21212: "Invalid 'From' Number",
    21408: "Permission to send an SMS has not been enabled for the region indicated by the 'To' number",
    21602: "Message body is required.",
    21603: "A 'From' or 'MessagingServiceSid' parameter is required.",
    21604: "A 'To' phone number is required.",
    21606: "The 'From' phone number provided is not a valid message-capable Twilio phone number for this destination.",
    21608: "The number is unverified. Trial accounts cannot send messages to unverified numbers.",
    21609: "The 'StatusCallback' URL is not a valid URL.",
    21610: "Attempt to send to unsubscribed recipient",
    21611: "This 'From' number has exceeded the maximum number of queued messages",
    21612: "Message cannot be sent with the current combination of 'To' and 'From' parameters",
    21614: "'To' number is not a valid mobile number",
    21617: "The concatenated message body exceeds the 1600 character limit.",
    21701: "The Messaging Service does not exist",
}


def error(status: int, code: int, message: str | None = None) -> Response:
    """A refusal in Twilio's words, or in those given."""
    body = {
        "code": code,
        "message": message or _WORDS.get(code, "The message was refused"),
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return Response(status, msgspec.json.encode(body), (_JSON,))


def for_status(status: int, retry_after_s: int | None = None) -> Response:
    """The usual body for an HTTP status, for faults and magic numbers that ask for one."""
    if status == 502:
        return Response(502, _HTML_502, (("content-type", "text/html"),))
    codes = {401: 20003, 403: 20006, 404: 20404, 429: 20429, 500: 20500, 503: 20503, 504: 20504}
    refusal = error(status, codes.get(status, 20001))
    if retry_after_s is None:
        return refusal
    return Response(status, refusal.body, (*refusal.headers, ("retry-after", str(retry_after_s))))
