"""Other people's libraries doing the same work, each as its own documentation recommends it for many messages.

They are imported where they are opened: none of them is needed to run Tidings (but Apprise, which it uses itself), and
a machine without one gets a report that says so. Each has the same messages, the same emulator and an event loop of
uvloop, keeps its connections if it can, and has as much under way as makes it fastest.
"""

from collections.abc import Mapping

from tidings.bench import foreign_messages, foreign_push
from tidings.bench.client import Opener
from tidings.bench.foreign import Foreign

FOREIGN: Mapping[tuple[str, str], Foreign] = {
    ("fcm", "firebase-admin"): Foreign("firebase_admin", foreign_push.open_firebase),
    ("fcm", "firebase-admin, threads"): Foreign("firebase_admin", foreign_push.open_firebase_threads),
    ("apns", "aioapns"): Foreign("aioapns", foreign_push.open_aioapns),
    ("webpush", "pywebpush"): Foreign("pywebpush", foreign_push.open_pywebpush),
    ("webpush", "pywebpush, threads"): Foreign("pywebpush", foreign_push.open_pywebpush_threads),
    ("smtp", "aiosmtplib"): Foreign("aiosmtplib", foreign_messages.open_aiosmtplib),
    ("smtp", "aiosmtplib, composed before"): Foreign("aiosmtplib", foreign_messages.open_aiosmtplib_composed),
    ("twilio", "twilio"): Foreign("twilio", foreign_messages.open_twilio),
    ("twilio", "twilio, threads"): Foreign("twilio", foreign_messages.open_twilio_threads),
    ("vonage", "vonage-sms, threads"): Foreign("vonage_sms", foreign_messages.open_vonage_threads),
    ("apprise", "Apprise, threads"): Foreign("apprise", foreign_messages.open_apprise),
}
CLIENTS: Mapping[tuple[str, str], Opener] = {key: foreign.open for key, foreign in FOREIGN.items()}
