"""Verifies a webhook with the reference implementation of Standard Webhooks: `python3 webhook.py SECRET HEADERS` with the body
on stdin and the headers as JSON. Writes the payload's type. A body or an id that was changed must not verify.
"""

import json
import sys

from standardwebhooks import Webhook, WebhookVerificationError

secret, headers, body = sys.argv[1], json.loads(sys.argv[2]), sys.stdin.buffer.read()
webhook = Webhook(secret)
payload = webhook.verify(body, headers)
for changed_body, changed in [(body + b" ", {}), (body, {"webhook-id": "evt_other"})]:
    try:
        webhook.verify(changed_body, headers | changed)
    except WebhookVerificationError:
        continue
    sys.exit("what was changed verifies")
print(payload["type"])
