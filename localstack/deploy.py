"""Deploys infra/storage.yaml into an emulator, and prints the lines that kakitome reads from its environment.

For emulators alone: it also switches on what they leave out of a stack. On AWS use `aws cloudformation deploy`, as
infra/README.md says.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import boto3
from botocore.exceptions import ClientError

TEMPLATE = Path(__file__).resolve().parent.parent / "infra" / "storage.yaml"
STACK = "kakitome-storage"
SECONDS_TO_DEPLOY = 60


def client(service, endpoint):
    """A client of `service` at `endpoint`, which checks no key."""
    return boto3.client(
        service,
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )


def describe(cloudformation, stack):
    """The stack, or None where there is none."""
    try:
        return cloudformation.describe_stacks(StackName=stack)["Stacks"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] == "ValidationError":
            return None
        raise


def deploy(cloudformation, stack, template, parameters):
    """Creates or updates a stack through a change set, as `aws cloudformation deploy` does. Returns its outputs."""
    there = describe(cloudformation, stack)
    change = f"deploy-{time.time_ns()}"
    cloudformation.create_change_set(
        StackName=stack,
        ChangeSetName=change,
        ChangeSetType="UPDATE" if there and there["StackStatus"] != "REVIEW_IN_PROGRESS" else "CREATE",
        TemplateBody=template,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
        Capabilities=["CAPABILITY_IAM"],
    )
    planned = wait(lambda: cloudformation.describe_change_set(StackName=stack, ChangeSetName=change), "Status")
    if planned["Status"] == "FAILED":
        # Nothing to change is a failure to CloudFormation.
        if there and not planned.get("Changes"):
            return outputs(there)
        raise SystemExit(f"{stack}: {planned.get('StatusReason', 'the change set failed')}")
    cloudformation.execute_change_set(StackName=stack, ChangeSetName=change)
    done = wait(lambda: describe(cloudformation, stack), "StackStatus")
    if done["StackStatus"] not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise SystemExit("\n".join([f"{stack}: {done['StackStatus']}", *failures(cloudformation, stack)]))
    return outputs(done)


def wait(look, field):
    """What `look` returns once its `field` no longer says that something is under way."""
    deadline = time.monotonic() + SECONDS_TO_DEPLOY
    while True:
        seen = look()
        busy = any(word in seen[field] for word in ("PROGRESS", "PENDING"))
        if not busy or time.monotonic() > deadline:
            return seen
        time.sleep(0.1)


def outputs(stack):
    """Outputs by name."""
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def failures(cloudformation, stack):
    """Why resources of the stack failed."""
    events = cloudformation.describe_stack_events(StackName=stack)["StackEvents"]
    failed = (event for event in events if event["ResourceStatus"].endswith("FAILED"))
    return [f"  {event['LogicalResourceId']}: {event.get('ResourceStatusReason')}" for event in failed]


def mend(dynamodb, table):
    """Switches on what ministack leaves out when it deploys a table: time to live, point-in-time recovery."""
    left_out = []
    live = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    if live["TimeToLiveStatus"] not in ("ENABLED", "ENABLING"):
        left_out.append("time to live")
        dynamodb.update_time_to_live(
            TableName=table, TimeToLiveSpecification={"AttributeName": "exp", "Enabled": True}
        )
    backups = dynamodb.describe_continuous_backups(TableName=table)["ContinuousBackupsDescription"]
    if backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] != "ENABLED":
        left_out.append("point-in-time recovery")
        dynamodb.update_continuous_backups(
            TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
        )
    return left_out


def main():
    """Deploys and prints `export NAME=value` lines."""
    parser = argparse.ArgumentParser(description="Deploy infra/storage.yaml into an emulator")
    parser.add_argument("--endpoint", default=os.environ.get("AWS_ENDPOINT_URL", "http://127.0.0.1:4566"))
    parser.add_argument("--stack", default=STACK)
    parser.add_argument("--name-prefix", default="kakitome")
    args = parser.parse_args()
    parameters = {"NamePrefix": args.name_prefix, "MetricMathAlarms": "false"}
    made = deploy(client("cloudformation", args.endpoint), args.stack, TEMPLATE.read_text(), parameters)
    for what in mend(client("dynamodb", args.endpoint), made["TableName"]):
        print(f"# the emulator had left out {what}; switched on after the deployment", file=sys.stderr)
    settings = [
        f"AWS_ENDPOINT_URL={args.endpoint}",
        "AWS_REGION=us-east-1",
        "AWS_ACCESS_KEY_ID=test",
        "AWS_SECRET_ACCESS_KEY=test",
        *made["Environment"].splitlines(),
    ]
    for setting in settings:
        print(f"export {setting}")


if __name__ == "__main__":
    main()
