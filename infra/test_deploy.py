"""The templates against the linter, an emulator, and the code that relies on them. Run by `make aws-test`."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
sys.path.insert(0, str(ROOT / "localstack"))
import deploy  # noqa: E402  (beside the emulators, which share it)

STORAGE, SERVICE = ROOT / "infra/storage.yaml", ROOT / "infra/service.yaml"
DAY = 24 * 3600

# What `kakitome setup` makes, and every query of the message log relies on: change it there and here together.
TABLE_KEYS = [("pk", "S", "HASH"), ("sk", "S", "RANGE")]
INDEXES = {
    "open": ([("os", "S", "HASH"), ("oa", "N", "RANGE")], {"te", "ba", "aa", "sv", "rn", "wk"}),
    "wake": ([("ws", "S", "HASH"), ("wk", "N", "RANGE")], None),
    "batch": ([("bk", "S", "HASH"), ("aa", "N", "RANGE")], {"te", "ra"}),
}

LOG = {
    "dynamodb:BatchGetItem",
    "dynamodb:BatchWriteItem",
    "dynamodb:GetItem",
    "dynamodb:PartiQLInsert",
    "dynamodb:PartiQLUpdate",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:UpdateItem",
    "dynamodb:DescribeTable",
    "dynamodb:DescribeTimeToLive",
    "dynamodb:DescribeContinuousBackups",
}
DEPTH, SEND = "sqs:GetQueueAttributes", "sqs:SendMessage"
TAKE = {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"}
MOVE = {"sqs:StartMessageMoveTask", "sqs:ListMessageMoveTasks", "sqs:CancelMessageMoveTask"}
# Of the journal's documents alone.
DELETE = "dynamodb:DeleteItem"
# Of unmatched events alone, once they are matched.
FORGET = "dynamodb:PartiQLDelete"
# How far they reach.
ONLY = {DELETE: "j#*", FORGET: "u#*"}
# Each job's rights, resource by resource, and none besides.
RIGHTS = {
    "ProducerPolicy": {"Queue": {SEND}},
    "ApiPolicy": {
        "Queue": {SEND, DEPTH},
        "DeadLetterQueue": TAKE | {DEPTH},
        "EventsQueue": {SEND, DEPTH},
        "Table": LOG | {DELETE},
    },
    "WorkerPolicy": {
        "Queue": TAKE | {SEND, DEPTH},
        "DeadLetterQueue": TAKE | {SEND, DEPTH},
        "EventsQueue": {DEPTH},
        "Table": LOG | {DELETE},
    },
    "WebhookPolicy": {
        "Queue": {DEPTH},
        "DeadLetterQueue": {DEPTH},
        "EventsQueue": TAKE | {SEND, DEPTH},
        "Table": LOG | {FORGET},
    },
    "OperatorPolicy": {
        "Queue": {SEND, DEPTH},
        "DeadLetterQueue": TAKE | MOVE | {DEPTH},
        "EventsDeadLetterQueue": TAKE | MOVE | {DEPTH},
        "EventsQueue": {SEND, DEPTH},
        "Table": LOG | {DELETE},
    },
}
FORBIDDEN = {
    "sqs:PurgeQueue",
    "sqs:DeleteQueue",
    "sqs:SetQueueAttributes",
    "dynamodb:DeleteTable",
    "dynamodb:UpdateTable",
    "dynamodb:UpdateTimeToLive",
    "dynamodb:UpdateContinuousBackups",
}


class _Loader(yaml.SafeLoader):
    """YAML with CloudFormation's short forms written out."""


def _written_out(loader, suffix, node):
    if isinstance(node, yaml.ScalarNode):
        value = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in ("Ref", "Condition") else f"Fn::{suffix}": value}


_Loader.add_multi_constructor("!", _written_out)


def read(path):
    """A template as plain data."""
    return yaml.load(path.read_text(), Loader=_Loader)


def of_type(template, kind):
    """Resources of this type by name."""
    return {name: one for name, one in template["Resources"].items() if one["Type"] == kind}


def as_list(value):
    """One or many, as many."""
    return value if isinstance(value, list) else [value]


def code(path):
    """The text of a source file."""
    return (ROOT / path).read_text()


def default_of(key):
    """A configuration key's default, as it stands in the table of keys."""
    found = re.search(rf'key\("{re.escape(key)}",[^\n]*?Some\("([^"]+)"\)', code("src/settings/keys.rs"))
    assert found, f"{key} has no default"
    return found.group(1)


def seconds(span):
    """`60s`, `10m` in seconds."""
    return int(span[:-1]) * {"s": 1, "m": 60, "h": 3600}[span[-1]]


def variables():
    """Every environment variable that the program reads."""
    paths = re.findall(r'\bkey\("([a-z_.]+)"', code("src/settings/keys.rs"))
    return {"KAKITOME_" + path.replace(".", "_").upper() for path in paths}


class Linters(unittest.TestCase):
    def test_cfn_lint_finds_nothing_and_no_rule_is_ignored(self):
        done = subprocess.run([BIN / "cfn-lint", STORAGE, SERVICE], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stdout + done.stderr)
        for template in (STORAGE, SERVICE):
            self.assertNotIn("cfn-lint", template.read_text())

    def test_hadolint_finds_nothing(self):
        done = subprocess.run([BIN / "hadolint", ROOT / "infra/Dockerfile"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stdout + done.stderr)


class Templates(unittest.TestCase):
    def setUp(self):
        self.storage, self.service = read(STORAGE), read(SERVICE)

    def test_every_parameter_is_bounded_and_explained(self):
        for template in (self.storage, self.service):
            for name, one in template["Parameters"].items():
                self.assertTrue(one.get("Description"), name)
                if one["Type"] == "String":
                    self.assertTrue("AllowedPattern" in one or "AllowedValues" in one, name)
                if "AllowedPattern" in one:
                    self.assertIn("ConstraintDescription", one, name)
                    if "Default" in one:
                        self.assertRegex(one["Default"], one["AllowedPattern"], name)
                if one["Type"] == "Number":
                    self.assertTrue("AllowedValues" in one or {"MinValue", "MaxValue"} <= set(one), name)
                    self.assertIn("Default", one, name)

    def test_the_defaults_are_those_of_the_program(self):
        given = {name: one.get("Default") for name, one in self.storage["Parameters"].items()}
        self.assertEqual(given["VisibilitySeconds"], seconds(default_of("queue.visibility")))
        self.assertEqual(given["MaxReceiveCount"], int(default_of("queue.max_receive_count")))
        self.assertEqual(given["OldestMessageAlarmSeconds"], seconds(default_of("alert.delay")))
        self.assertEqual(self.service["Parameters"]["AlertDelay"]["Default"], default_of("alert.delay"))
        retention = self.service["Parameters"]["RetentionDays"]
        self.assertEqual(f"{retention['Default']}d", default_of("dynamodb.retention"))
        # The bounds of the program's own key.
        self.assertIn(
            f'key("dynamodb.retention", Kind::Span(s({retention["MinValue"]} * 24 * HOUR), '
            f's({retention["MaxValue"]} * 24 * HOUR))',
            code("src/settings/keys.rs"),
        )
        port = default_of("listen").rsplit(":", 1)[1]
        task = self.service["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0]
        self.assertEqual(str(task["PortMappings"][0]["ContainerPort"]), port)
        self.assertGreater(task["StopTimeout"], seconds(default_of("worker.drain")) + 20)

    def test_every_alarm_names_runbooks_that_are_there(self):
        alarms = 0
        for template in (self.storage, self.service):
            for name, one in of_type(template, "AWS::CloudWatch::Alarm").items():
                alarms += 1
                told = one["Properties"]["AlarmDescription"]
                self.assertRegex(told, r"Runbook: runbooks/", name)
                for page in re.findall(r"runbooks/[a-z-]+\.md", told):
                    self.assertTrue((ROOT / page).is_file(), f"{name} names {page}")
                self.assertTrue(one["Properties"]["AlarmActions"], name)
                self.assertIn("TreatMissingData", one["Properties"], name)
        self.assertGreaterEqual(alarms, 12)

    def test_every_alarm_stands_on_the_dashboard(self):
        body = self.storage["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
        for one in of_type(self.storage, "AWS::CloudWatch::Alarm").values():
            self.assertIn(":alarm:" + one["Properties"]["AlarmName"]["Fn::Sub"] + '"', body)

    def test_the_alerts_name_metrics_and_runbooks_that_are_there(self):
        metrics = set(re.findall(r'"(kakitome_[a-z_]+)"', code("src/metrics.rs")))
        rules = yaml.safe_load((ROOT / "infra/alerts.rules.yaml").read_text())["groups"][0]["rules"]
        for rule in rules:
            named = set(re.findall(r"kakitome_[a-z_]+", rule["expr"]))
            self.assertTrue(named and named <= metrics, f"{rule['alert']}: {named - metrics}")
            self.assertTrue((ROOT / rule["annotations"]["runbook"]).is_file(), rule["alert"])

    def test_deleting_the_stack_deletes_no_data(self):
        for kind in ("AWS::SQS::Queue", "AWS::DynamoDB::Table"):
            for name, one in of_type(self.storage, kind).items():
                self.assertEqual((one["DeletionPolicy"], one["UpdateReplacePolicy"]), ("Retain", "Retain"), name)

    def test_the_table_forgets_by_exp_and_can_be_restored(self):
        # Read from the text: ministack applies neither when it deploys a stack.
        table = self.storage["Resources"]["Table"]["Properties"]
        self.assertEqual(table["TimeToLiveSpecification"], {"AttributeName": "exp", "Enabled": True})
        self.assertIs(table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"], True)
        self.assertEqual(self.storage["Parameters"]["PointInTimeRecoveryDays"]["Default"], 35)

    def test_every_queue_is_encrypted_and_refuses_what_is_not_tls(self):
        queues = of_type(self.storage, "AWS::SQS::Queue")
        for name, one in queues.items():
            self.assertIs(one["Properties"]["SqsManagedSseEnabled"], True, name)
        guarded = []
        for one in of_type(self.storage, "AWS::SQS::QueuePolicy").values():
            (queue,) = one["Properties"]["Queues"]
            (statement,) = one["Properties"]["PolicyDocument"]["Statement"]
            self.assertEqual(statement["Resource"], {"Fn::GetAtt": [queue["Ref"], "Arn"]})
            self.assertEqual((statement["Effect"], statement["Action"]), ("Deny", "sqs:*"))
            self.assertEqual(statement["Condition"], {"Bool": {"aws:SecureTransport": "false"}})
            guarded.append(queue["Ref"])
        self.assertEqual(sorted(guarded), sorted(queues))

    def test_the_dead_letters_outlive_the_queue(self):
        # On a standard queue a dead letter's age counts from the first enqueue.
        longest = self.storage["Parameters"]["RetentionSeconds"]["MaxValue"]
        for name in ("DeadLetterQueue", "EventsDeadLetterQueue"):
            kept = self.storage["Resources"][name]["Properties"]["MessageRetentionPeriod"]
            self.assertEqual(kept, 14 * DAY)
            self.assertGreater(kept, longest)

    def test_the_service_imports_only_what_the_storage_exports(self):
        exported = {one["Export"]["Name"]["Fn::Sub"] for one in self.storage["Outputs"].values() if "Export" in one}
        exported = {name.replace("${AWS::StackName}", "") for name in exported}
        imported = set(re.findall(r'ImportValue": !Sub "\$\{StorageStack\}(-\w+)"', SERVICE.read_text()))
        self.assertTrue(imported and imported <= exported, imported - exported)

    def test_every_variable_that_is_set_is_one_that_the_program_reads(self):
        known = variables()
        lines = self.storage["Outputs"]["Environment"]["Value"]["Fn::Sub"].splitlines()
        told = {line.split("=")[0] for line in lines}
        single = {
            one["Description"] for one in self.storage["Outputs"].values() if one["Description"].startswith("KAKITOME_")
        }
        self.assertEqual(told, single | {"KAKITOME_BACKEND"})
        set_in_task = set(re.findall(r"Name: (KAKITOME_\w+)", SERVICE.read_text()))
        in_image = set(re.findall(r"\bKAKITOME_\w+(?==)", code("infra/Dockerfile")))
        self.assertLessEqual(told | set_in_task | in_image, known)
        self.assertLessEqual(told, set_in_task)

    def test_the_task_runs_as_nobody_on_a_root_that_cannot_be_written(self):
        task = self.service["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0]
        self.assertEqual(task["User"], "65532:65532")
        self.assertIn("USER 65532:65532\n", code("infra/Dockerfile"))
        self.assertIs(task["ReadonlyRootFilesystem"], True)
        self.assertEqual(task["MountPoints"][0]["ContainerPath"], "/data")
        self.assertNotIn("SENDGRID_API_KEY", json.dumps(task["Environment"]))


class Costs(unittest.TestCase):
    """The page of costs against its own units and prices."""

    def setUp(self):
        self.page = " ".join(code("infra/README.md").split())

    def test_every_row_is_units_times_price(self):
        rows = re.findall(r"^\|([^|]+)\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", code("infra/README.md"), re.M)
        self.assertEqual(len(rows), 8)
        told = {}
        for what, units, price, dollars in rows:
            # Half a cent is rounded up.
            self.assertAlmostEqual(float(units) * float(price), float(dollars), delta=0.005001, msg=what)
            told[what.strip().split(":")[0]] = float(units) * float(price)
        queue = told["SQS requests"] + told["the same, fair queues (`MessageGroupId`)"]
        events = told["write units for two events that change something"]
        events += told["read units for two events, row and events item each"]
        over_api = queue + events + told["write units over the API"]
        direct = queue + events + told["write units written straight to the queue"]
        self.assertIn(f"${over_api + 1e-9:.2f} for a million over the API", self.page)
        self.assertIn(f"${direct + 1e-9:.2f} for a million straight from the queue", self.page)

    def test_the_units_of_a_row_are_the_sum_of_its_parts(self):
        for line in code("infra/README.md").splitlines():
            if line.startswith("| write units") and ":" in line:
                what, units = line.strip("| ").split("|")[:2]
                parts = re.findall(r" (\d)(?=,| *$)", what.split(":", 1)[1])
                self.assertEqual(sum(map(int, parts)), int(units), what)

    def test_standing_still_costs_what_the_page_says(self):
        month = 730
        for cpu, memory in re.findall(r"0\.25 vCPU at ([\d.]+) and 0\.5 GB at ([\d.]+) an hour", self.page):
            cost = month * (0.25 * float(cpu) + 0.5 * float(memory))
            self.assertIn(f"and 0.5 GB at {memory} an hour | {cost:.2f} |", self.page)
        rooms = code("src/app/rooms.rs")
        sweep_s, gauges_s = map(int, re.findall(r"Backend::Aws\(_\) => Duration::from_secs\((\d+)\)", rooms))
        self.assertIn(f"2 requests every {gauges_s} s", self.page)
        polls, figures = month * 3600 // 20, month * 3600 // gauges_s * 2
        self.assertIn(f"{polls:,} requests | {polls * 0.40 / 1e6:.2f} |", self.page)
        self.assertIn(f"{figures:,} requests | {figures * 0.40 / 1e6:.2f} |", self.page)
        keys = code("src/message_log/dynamodb/keys.rs")
        open_ = int(re.search(r"const OPEN_SHARDS: u8 = (\d+);", keys).group(1))
        wake = int(re.search(r"const WAKE_SHARDS: u8 = (\d+);", keys).group(1))
        resting = int(re.search(r"Class::Stopped => (\d+),", keys).group(1))
        tally = int(re.search(r"const SHARDS: u8 = (\d+);", code("src/message_log/dynamodb/tally.rs")).group(1))
        # Due: the index wake, the scheduled ones, the walk. Counts: every class, and the scheduled ones that came due.
        swept, counted = wake + resting + open_, open_ + 6 * resting
        sweeper = month * 3600 / sweep_s * swept * 0.5
        gauges = month * 3600 / gauges_s * (counted * 0.5 + tally)
        told = f"({swept} index partitions every {sweep_s} s, half a unit each: ${sweeper * 0.125 / 1e6:.2f} a month"
        self.assertIn(told, self.page)
        told = f"({counted} index partitions every {gauges_s} s and {tally} counters at a unit each: "
        told += f"${gauges * 0.125 / 1e6:.2f})"
        self.assertIn(told, self.page)
        kept = 4 * (0.25 + 0.20) * 4  # GB, $ per GB and month, months
        self.assertIn(f"${kept:.2f} for a million over its life", self.page)
        metrics = sum(
            len([m for m in one["Properties"].get("Metrics", [1]) if m == 1 or "MetricStat" in m])
            for path in (STORAGE, SERVICE)
            for one in of_type(read(path), "AWS::CloudWatch::Alarm").values()
        )
        self.assertIn(f"{metrics} alarm metrics at 0.10 | {metrics * 0.10:.2f} |", self.page)

    def test_every_parameter_and_every_policy_stands_on_the_page(self):
        for path in (STORAGE, SERVICE):
            for name in read(path)["Parameters"]:
                self.assertIn(f"`{name}`", self.page)
        for name in RIGHTS:
            self.assertIn(f"`{name}Arn`", self.page)

    def test_every_link_leads_somewhere(self):
        for link in re.findall(r"\]\(([^)#]+)", code("infra/README.md")):
            self.assertTrue((ROOT / "infra" / link).exists(), link)


class Image(unittest.TestCase):
    def test_every_base_is_pinned_to_a_digest(self):
        bases = re.findall(r"^FROM (\S+)", code("infra/Dockerfile"), re.M)
        self.assertEqual(len(bases), 2)
        for base in bases + [yaml.safe_load(code("localstack/compose.yaml"))["services"]["localstack"]["image"]]:
            self.assertRegex(base, r":[\w.-]+@sha256:[0-9a-f]{64}$")
        release = re.search(r'rust-version = "([\d.]+)"', code("Cargo.toml")).group(1)
        self.assertIn(f"rust:{release}", bases[0])

    def test_what_the_build_needs_is_copied_and_not_ignored(self):
        # No Docker engine runs in the tests: the same files are laid out, and cargo must find its way in them.
        copied = re.findall(r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", code("infra/Dockerfile"), re.M)
        copied = {name for line in copied for name in line.split()}
        let_in = set(re.findall(r"^!(\S+)$", code(".dockerignore"), re.M))
        self.assertEqual(copied, let_in)
        for source in (ROOT / "src").rglob("*.rs"):
            for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text()):
                path = (source.parent / name).resolve().relative_to(ROOT)
                self.assertTrue(any(path.is_relative_to(one) for one in copied), f"{path} is not copied")
        with tempfile.TemporaryDirectory() as folder:
            for name in copied:
                target = Path(folder) / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(ROOT / name)
            made = re.search(r"&& touch (.+)$", code("infra/Dockerfile"), re.M).group(1)
            for name in made.split():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(folder) / name).touch()
            cargo = os.environ.get("CARGO", "cargo")
            version = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
            host = re.search(r"^host: (.+)$", version, re.M).group(1)
            # Reads the manifest as a build does; `metadata` passes over a bench that is not there.
            command = [cargo, "fetch", "--locked", "--target", host]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_health_check_believes_only_a_200(self):
        for status, wanted in ((200, 0), (503, 1), (404, 1)):
            with self.subTest(status=status), _answering(status) as (port, asked):
                self.assertEqual(_health(port), wanted)
                self.assertEqual(asked, ["/healthz"])
        self.assertEqual(_health(_free_port()), 1)


def _health(port):
    environment = {**os.environ, "KAKITOME_LISTEN": f"0.0.0.0:{port}"}
    done = subprocess.run([ROOT / "infra/healthcheck.sh"], env=environment, capture_output=True, timeout=10)
    return done.returncode


class _answering:
    """A server on loopback that answers every request with one status."""

    def __init__(self, status):
        asked = self.asked = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                asked.append(self.path)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self.server.server_port, self.asked

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


def _free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


AWS = {}
ENDPOINT = {}
# The program, where it is built; `make aws-test` and `make test` name it.
KAKITOME = Path(os.environ.get("TEST_KAKITOME") or ROOT / "target/debug/kakitome")


def setUpModule():
    """Starts ministack, which ends with the tests, or after ten minutes."""
    port = _free_port()
    settings = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "IOT_MTLS_ENABLED": "0"}
    environment = {**os.environ, **settings, "SFTP_ENABLED": "0", "LOG_LEVEL": "ERROR"}
    server = subprocess.Popen(["timeout", "600", BIN / "ministack"], env=environment)
    unittest.addModuleCleanup(server.wait, 20)
    unittest.addModuleCleanup(server.terminate)
    deadline = time.monotonic() + 60
    while not _answers(port):
        assert time.monotonic() < deadline, "ministack does not answer"
        time.sleep(0.1)
    ENDPOINT["url"] = f"http://127.0.0.1:{port}"
    for name in ("cloudformation", "sqs", "dynamodb", "iam", "cloudwatch", "sns"):
        AWS[name] = deploy.client(name, ENDPOINT["url"])


def _answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _deploy(prefix, **parameters):
    given = {"NamePrefix": prefix, "MetricMathAlarms": "false", **parameters}
    return deploy.deploy(AWS["cloudformation"], f"{prefix}-storage", STORAGE.read_text(), given)


def _queue(name):
    url = AWS["sqs"].get_queue_url(QueueName=name)["QueueUrl"]
    return AWS["sqs"].get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]


class Deployed(unittest.TestCase):
    """The storage stack, once for all tests of this class; they only read."""

    @classmethod
    def setUpClass(cls):
        cls.made = _deploy("kakitome-test", AlarmEmail="ops@example.com")

    def test_the_queues_are_as_designed(self):
        common = {
            "VisibilityTimeout": "60",
            "ReceiveMessageWaitTimeSeconds": "20",
            "MaximumMessageSize": str(1 << 20),
            "SqsManagedSseEnabled": "true",
        }
        for source in ("kakitome-test", "kakitome-test-events"):
            attributes, behind = _queue(source), _queue(f"{source}-dead")
            for one in (attributes, behind):
                self.assertEqual({key: one[key] for key in common}, common)
                (statement,) = json.loads(one["Policy"])["Statement"]
                self.assertEqual((statement["Effect"], statement["Resource"]), ("Deny", one["QueueArn"]))
            self.assertEqual(int(attributes["MessageRetentionPeriod"]), 7 * DAY)
            self.assertEqual(int(behind["MessageRetentionPeriod"]), 14 * DAY)
            redrive = json.loads(attributes["RedrivePolicy"])
            self.assertEqual(redrive["deadLetterTargetArn"], behind["QueueArn"])
            self.assertEqual(int(redrive["maxReceiveCount"]), 100)
            allowed = json.loads(behind["RedriveAllowPolicy"])
            self.assertEqual(allowed, {"redrivePermission": "byQueue", "sourceQueueArns": [attributes["QueueArn"]]})

    def test_the_table_is_the_one_that_the_program_makes(self):
        table = AWS["dynamodb"].describe_table(TableName="kakitome-test")["Table"]
        kinds = {one["AttributeName"]: one["AttributeType"] for one in table["AttributeDefinitions"]}

        def keys(described):
            pairs = [(one["AttributeName"], one["KeyType"]) for one in described["KeySchema"]]
            return [(name, kinds[name], role) for name, role in pairs]

        self.assertEqual(keys(table), TABLE_KEYS)
        self.assertEqual({one["IndexName"] for one in table["GlobalSecondaryIndexes"]}, set(INDEXES))
        for one in table["GlobalSecondaryIndexes"]:
            wanted, attributes = INDEXES[one["IndexName"]]
            self.assertEqual(keys(one), wanted)
            self.assertEqual(one["Projection"]["ProjectionType"], "INCLUDE" if attributes else "KEYS_ONLY")
            self.assertEqual(set(one["Projection"].get("NonKeyAttributes", [])), attributes or set())
        self.assertEqual(table["BillingModeSummary"]["BillingMode"], "PAY_PER_REQUEST")
        self.assertIs(table["DeletionProtectionEnabled"], True)
        used = {name for name, _, _ in TABLE_KEYS} | {name for pairs, _ in INDEXES.values() for name, _, _ in pairs}
        self.assertEqual(set(kinds), used)

    def test_what_the_emulator_leaves_out_can_be_switched_on(self):
        left_out = deploy.mend(AWS["dynamodb"], "kakitome-test")
        self.assertLessEqual(set(left_out), {"time to live", "point-in-time recovery"})
        live = AWS["dynamodb"].describe_time_to_live(TableName="kakitome-test")["TimeToLiveDescription"]
        self.assertEqual((live["TimeToLiveStatus"], live["AttributeName"]), ("ENABLED", "exp"))
        self.assertEqual(deploy.mend(AWS["dynamodb"], "kakitome-test"), [])

    def test_every_job_has_its_rights_and_no_other(self):
        arns = {
            name: _queue(f"kakitome-test{suffix}")["QueueArn"]
            for name, suffix in (
                ("Queue", ""),
                ("DeadLetterQueue", "-dead"),
                ("EventsQueue", "-events"),
                ("EventsDeadLetterQueue", "-events-dead"),
            )
        }
        arns["Table"] = AWS["dynamodb"].describe_table(TableName="kakitome-test")["Table"]["TableArn"]
        names = {arn: name for name, arn in arns.items()}
        for policy, wanted in RIGHTS.items():
            arn = self.made[f"{policy}Arn"]
            version = AWS["iam"].get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            document = AWS["iam"].get_policy_version(PolicyArn=arn, VersionId=version)["PolicyVersion"]["Document"]
            given, denied = {}, set()
            for statement in document["Statement"]:
                actions = set(as_list(statement["Action"]))
                if statement["Effect"] == "Deny":
                    denied |= actions
                    continue
                keys = next((keys for action, keys in ONLY.items() if action in actions), None)
                only = keys and {"ForAllValues:StringLike": {"dynamodb:LeadingKeys": [keys]}}
                self.assertEqual(statement.get("Condition"), only, policy)
                for resource in as_list(statement["Resource"]):
                    if resource == f"{arns['Table']}/index/*":
                        self.assertEqual(actions, {"dynamodb:Query"}, policy)
                        continue
                    given.setdefault(names[resource], set()).update(actions)
            self.assertEqual(given, wanted, policy)
            self.assertEqual(denied, FORBIDDEN, policy)

    def test_the_alarms_speak_to_the_topic(self):
        alarms = AWS["cloudwatch"].describe_alarms(AlarmNamePrefix="kakitome-test-")["MetricAlarms"]
        plain = [
            one
            for one in of_type(read(STORAGE), "AWS::CloudWatch::Alarm").values()
            if one.get("Condition") != "AddsMetricsUp"
        ]
        self.assertEqual(len(alarms), len(plain))
        topics = [one["TopicArn"] for one in AWS["sns"].list_topics()["Topics"]]
        (topic,) = (arn for arn in topics if "kakitome-test-storage" in arn)
        for alarm in alarms:
            self.assertEqual(alarm["AlarmActions"], [topic], alarm["AlarmName"])
            self.assertIn("runbooks/", alarm["AlarmDescription"])
        board = AWS["cloudwatch"].get_dashboard(DashboardName="kakitome-test")["DashboardBody"]
        self.assertGreaterEqual(len(json.loads(board)["widgets"]), 5)

    def test_the_outputs_are_what_the_program_reads(self):
        settings = dict(line.split("=", 1) for line in self.made["Environment"].splitlines())
        self.assertEqual(settings["KAKITOME_BACKEND"], "aws")
        self.assertEqual(settings["KAKITOME_SQS_QUEUE_URL"], self.made["QueueUrl"])
        self.assertEqual(settings["KAKITOME_SQS_DEAD_LETTER_URL"], self.made["DeadLetterUrl"])
        self.assertEqual(settings["KAKITOME_SQS_EVENTS_URL"], self.made["EventsUrl"])
        self.assertEqual(settings["KAKITOME_DYNAMODB_TABLE"], self.made["TableName"])
        for name in ("KAKITOME_SQS_QUEUE_URL", "KAKITOME_SQS_DEAD_LETTER_URL", "KAKITOME_SQS_EVENTS_URL"):
            found = AWS["sqs"].get_queue_attributes(QueueUrl=settings[name], AttributeNames=["QueueArn"])
            self.assertTrue(found["Attributes"]["QueueArn"].endswith(settings[name].rsplit("/", 1)[1]))


class Producer(unittest.TestCase):
    def test_the_example_puts_a_notification_of_the_schema_on_the_queue(self):
        made = _deploy("kakitome-prod")
        keys = {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        settings = {"AWS_ENDPOINT_URL": ENDPOINT["url"], "KAKITOME_SQS_QUEUE_URL": made["QueueUrl"]}
        command = [sys.executable, "-B", ROOT / "examples/direct_producer.py", "guest@example.com"]
        done = subprocess.run(command, env={**os.environ, **keys, **settings}, capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        (message,) = AWS["sqs"].receive_message(QueueUrl=made["QueueUrl"])["Messages"]
        self.assertEqual(message["MessageId"], done.stdout.strip())
        body, schema = json.loads(message["Body"]), json.loads(code("schema/notification.json"))
        self.assertLessEqual(set(schema["required"]), set(body))
        self.assertLessEqual(set(body), set(schema["properties"]))


class Program(unittest.TestCase):
    """The program itself on a stack: what the templates make is what it would make."""

    @classmethod
    def setUpClass(cls):
        if not KAKITOME.is_file():
            if "TEST_KAKITOME" in os.environ:
                raise AssertionError(f"{KAKITOME} is not there")
            raise unittest.SkipTest("the program is not built: `cargo build`")
        cls.made = _deploy("kakitome-prog")
        deploy.mend(AWS["dynamodb"], "kakitome-prog")

    def say(self, *arguments):
        """What the program prints, line by line; it must succeed."""
        settings = dict(line.split("=", 1) for line in self.made["Environment"].splitlines())
        keys = {"AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        environment = {"PATH": os.environ["PATH"], "AWS_ENDPOINT_URL": ENDPOINT["url"], **keys, **settings}
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                [KAKITOME, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=60
            )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout.splitlines()

    def test_setup_finds_nothing_to_do(self):
        lines = self.say("setup")
        for line in lines:
            self.assertTrue(line.startswith("is right  "), line)
        for name in ("kakitome-prog", "kakitome-prog-dead", "kakitome-prog-events", "table", "time to live"):
            self.assertTrue(any(line.startswith(f"is right  {name}:") for line in lines), f"{name} in {lines}")

    def test_check_finds_all_right(self):
        lines = self.say("check")
        for line in lines:
            self.assertTrue(line.startswith("ok    "), line)
        # Each right that the worker's policy gives on the queue and the table was tried.
        text = "\n".join(lines)
        for action in ("sqs:SendMessage", "sqs:ReceiveMessage", "dynamodb:PartiQLUpdate", "dynamodb:Query", DELETE):
            self.assertIn(action, text)


class Life(unittest.TestCase):
    """A stack of its own: deployed, deployed again, changed, deleted."""

    def test_a_stack_is_repeatable_changes_in_place_and_leaves_its_data(self):
        made = _deploy("kakitome-brief")
        before = _queue("kakitome-brief")
        self.assertEqual(_deploy("kakitome-brief"), made)
        _deploy("kakitome-brief", VisibilitySeconds="90")
        after = _queue("kakitome-brief")
        self.assertEqual(after["VisibilityTimeout"], "90")
        self.assertEqual(after["CreatedTimestamp"], before["CreatedTimestamp"])

        cloudformation, stack = AWS["cloudformation"], "kakitome-brief-storage"
        cloudformation.delete_stack(StackName=stack)
        deploy.wait(lambda: deploy.describe(cloudformation, stack) or {"StackStatus": "GONE"}, "StackStatus")
        alarms = AWS["cloudwatch"].describe_alarms(AlarmNamePrefix="kakitome-brief-")["MetricAlarms"]
        self.assertEqual(alarms, [])
        policies = {one["Arn"] for one in AWS["iam"].list_policies(Scope="Local")["Policies"]}
        self.assertFalse(policies & set(made.values()))
        self.assertEqual(len(AWS["sqs"].list_queues(QueueNamePrefix="kakitome-brief")["QueueUrls"]), 4)
        self.assertIn("kakitome-brief", AWS["dynamodb"].list_tables()["TableNames"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
