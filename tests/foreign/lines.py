"""What the Python drivers have in common: one JSON object a line to standard output."""
import json
import sys
import threading

_LOCK = threading.Lock()


def tell(event, **what):
    line = json.dumps({"event": event, **what})
    with _LOCK:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
