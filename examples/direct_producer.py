#!/usr/bin/env python3
"""Puts a notification on the queue without kakitome's API. Needs boto3 and the right `sqs:SendMessage`.

    KAKITOME_SQS_QUEUE_URL=https://sqs.… examples/direct_producer.py guest@example.com

What a notification may have says schema/notification.json; a producer that checks against it (any JSON Schema library)
finds out itself what would otherwise become a dead letter.
"""

import json
import os
import sys

import boto3


def main():
    """Confirms one booking."""
    queue_url = os.environ["KAKITOME_SQS_QUEUE_URL"]
    guest = sys.argv[1] if len(sys.argv) > 1 else "guest@example.com"
    tenant = "default"
    notification = {
        # What happened, not when it was sent: handed in again it is the same notification, and one mail.
        "idempotency_key": "booking-8123:confirmed:1",
        "tenant": tenant,
        "from": {"email": "reserve@example.jp", "name": "予約センター"},
        "to": [{"email": guest}],
        "subject": "ご予約が確定しました",
        "text": "予約番号 8123",
        "metadata": {"booking": "8123"},
    }
    sent = boto3.client("sqs").send_message(
        QueueUrl=queue_url,
        MessageBody=json.dumps(notification, ensure_ascii=False),
        # Whose turn it is: the tenant; `default/bulk` for a broadcast, so that it delays nobody, itself apart.
        MessageGroupId=tenant,
    )
    print(sent["MessageId"])


if __name__ == "__main__":
    main()
