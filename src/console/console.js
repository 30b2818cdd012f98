// The operators' page: asks the public HTTP API with the reader's key and shows the answers.
//
// What others wrote (reasons, provider answers, labels, addresses) enters the page as text only.

/** Everything that is asked. */
const API = {
  status: "/v1/status",
  jobs: "/v1/jobs",
  stops: "/v1/stops",
  list: "/v1/notifications",
  show: "/v1/notifications/{id}",
  redrive: "/v1/notifications/{id}/redrive",
  hold: "/v1/notifications/{id}/hold",
  release: "/v1/notifications/{id}/release",
  cancel: "/v1/notifications/{id}/cancel",
};
const EVERY_MS = 2000;
/** A server that takes longer counts as gone. */
const PATIENCE_MS = 10_000;
const PAGE_SIZE = 50;
const JOBS_SHOWN = 5;
const KEY = "kakitome-key";
const ALERT_SECONDS = Number(document.body.dataset.alertSeconds);

const GROUPS = [
  ["On their way", ["accepted", "scheduled", "attempting", "retrying", "unknown"]],
  ["Wait for somebody", ["held", "failed", "expired"]],
  ["Done", ["sent", "cancelled", "suppressed"]],
];
const STATUSES = GROUPS.flatMap(([, statuses]) => statuses);

/** What can be done to a notification: from which statuses, and what it means. */
const ACTIONS = {
  redrive: {
    from: ["failed"],
    label: "Redrive",
    text: "It is sent again at once, with fresh attempts. First mend what made it fail.",
    sends: true,
  },
  release: {
    from: ["held"],
    label: "Release",
    text: "It goes on from where it was held.",
    sends: true,
  },
  hold: {
    from: ["accepted", "scheduled", "retrying", "unknown"],
    label: "Hold",
    text: "It is kept back, wherever it waits, until somebody releases it.",
    keepsReason: true,
  },
  cancel: {
    from: ["accepted", "scheduled", "held", "retrying", "unknown", "failed", "expired"],
    label: "Cancel",
    text: "It is stopped for good and leaves the list of the unsent. This cannot be undone.",
    keepsReason: true,
    isGrave: true,
  },
};

const $ = (id) => document.getElementById(id);

/** An element; strings become text, null is left out. */
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Changes text only when it differs: an unchanged live region stays silent. */
function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
  node.hidden = text === "";
}

// Time. The server's clock counts: ages must not depend on this machine's.

let skewMs = 0;
const now = () => Date.now() + skewMs;

/** A span in its two largest units, as the commands say it. */
function human(seconds) {
  let rest = Math.max(0, Math.floor(seconds));
  const parts = [];
  for (const [unit, size] of [["d", 86_400], ["h", 3600], ["m", 60], ["s", 1]]) {
    const count = Math.floor(rest / size);
    if (count > 0 || parts.length > 0) parts.push(count > 0 ? count + unit : "");
    rest %= size;
    if (parts.length === 2) break;
  }
  return parts.filter(Boolean).join(" ") || "0s";
}

function relative(iso) {
  const seconds = (Date.parse(iso) - now()) / 1000;
  return seconds > 0 ? `in ${human(seconds)}` : `${human(-seconds)} ago`;
}

const pad = (number) => String(number).padStart(2, "0");
function local(iso) {
  const at = new Date(iso);
  const day = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  return `${day} ${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
}

const time = (iso) => (iso ? el("time", { datetime: iso, title: iso }, local(iso)) : null);

// Asking.

/** Why an answer is missing, in words for the reader. `status` 0: no answer at all. */
class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

const pathOf = (template, id) => template.replace("{id}", encodeURIComponent(id));

async function ask(path, { query, body, key = sessionStorage.getItem(KEY) } = {}) {
  const search = query ? `?${new URLSearchParams(query)}` : "";
  const headers = { authorization: `Bearer ${key}` };
  if (body) headers["content-type"] = "application/json";
  let answer;
  let content;
  try {
    answer = await fetch(path + search, {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
      cache: "no-store",
      credentials: "omit",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    content = await answer.json().catch(() => ({}));
  } catch {
    throw new Refused(0, `The server at ${location.origin} does not answer. Is kakitome serve running there?`);
  }
  const date = Date.parse(answer.headers.get("date") ?? "");
  // The header has whole seconds, so a smaller difference is none.
  if (date) skewMs = Math.abs(date - Date.now()) > 2000 ? date - Date.now() : 0;
  if (answer.ok) return content;
  const errors = (content.errors ?? []).map((error) => `${error.pointer.slice(1)} ${error.detail}`);
  const said = [content.detail ?? content.title ?? `HTTP ${answer.status}`, ...errors].join("; ");
  throw new Refused(answer.status, explain(answer.status, said, answer.headers.get("retry-after")));
}

function explain(status, said, retryAfter) {
  if (status === 401) return "The server does not know this key. It may have been changed, or belong to another server.";
  if (status === 403) return `This key may not do that: ${said}. Log in with one that may.`;
  if (status === 429) return `Too much at once: ${said}. Wait ${retryAfter ?? "a few"} s.`;
  if (status === 409) return `Its state forbids it: ${said}.`;
  if (status >= 500) return `The server has trouble: ${said}. Its log says more.`;
  return `${said[0].toUpperCase()}${said.slice(1)}.`;
}

// Moving about. A visit ends when the next begins; answers to a former one are dropped.

let visit = 0;
let timer = 0;

function open(section) {
  visit += 1;
  clearTimeout(timer);
  for (const id of ["login", "overview", "list", "detail"]) $(id).hidden = id !== section;
  $("nav").hidden = section === "login";
  for (const link of $("nav").querySelectorAll("a")) {
    const isHere = link.hash === (section === "overview" ? "#/" : "#/list");
    if (isHere) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.body.classList.remove("stale");
  say($("trouble"), "");
  say($("as-of"), "");
  return visit;
}

/** Asks, and shows the answer, or that there is none, if the reader is still there. */
async function look(here, question, show, lack) {
  try {
    const answer = await question();
    if (here !== visit) return;
    say($("trouble"), "");
    say($("as-of"), `As of ${local(now())}.`);
    document.body.classList.remove("stale");
    show(answer);
  } catch (error) {
    if (here !== visit) return;
    if (!(error instanceof Refused)) throw error;
    if (error.status === 401) return leave(error.message);
    say($("trouble"), error.message);
    document.body.classList.add("stale");
    lack(error);
  }
}

/** Looks again and again while the reader is here. A hidden tab asks nothing. */
async function watch(here, question, show, lack) {
  if (!document.hidden) await look(here, question, show, lack);
  if (here === visit) timer = setTimeout(() => watch(here, question, show, lack), EVERY_MS);
}

function route() {
  if ($("confirm").open) $("confirm").close();
  if (!sessionStorage.getItem(KEY)) return showLogin("");
  const [place, search] = location.hash.replace(/^#\/?/, "").split("?");
  const [room, id] = place.split("/");
  if (room === "list") showList(new URLSearchParams(search));
  else if (room === "n" && id) showDetail(decodeURIComponent(id));
  else showOverview();
}

// Log-in.

function showLogin(error) {
  open("login");
  document.title = "Log in · kakitome";
  say($("login-error"), error);
  $("key").value = "";
  $("key").focus();
}

function leave(error) {
  sessionStorage.removeItem(KEY);
  recipient = "";
  for (const id of ["record", "troubles", "providers", "stops", "jobs"]) $(id).replaceChildren();
  $("rows").tBodies[0].replaceChildren();
  showLogin(error);
}

$("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = $("key").value.trim();
  if (!/^[\x21-\x7e]+$/.test(key)) return say($("login-error"), "A key has only ASCII letters, digits and signs.");
  say($("login-error"), "");
  try {
    await ask(API.status, { key });
    sessionStorage.setItem(KEY, key);
    $("key").value = "";
    route();
  } catch (error) {
    say($("login-error"), error.message);
    $("key").focus();
  }
});
$("logout").addEventListener("click", () => leave(""));

// Overview.

const CIRCUITS = {
  closed: "takes mail",
  open: "is ill: sending is paused and starts again by itself",
  half_open: "was ill and is being tried",
  refused: "refuses us: its key, credits or sender must be mended",
  held: "is held: nothing is sent to it until somebody releases it",
};

/** What is not all right, worst first: the same judgement as the command `status`. */
function troubles(stand) {
  const found = stand.providers
    .filter((provider) => provider.circuit !== "closed")
    .map((provider) => `Provider ${provider.name} ${CIRCUITS[provider.circuit] ?? provider.circuit}.`);
  for (const { action, id, state, is_orphaned } of stand.jobs ?? []) {
    const isRunning = ["canary", "running"].includes(state) && !is_orphaned;
    if (state !== "watching" && !isRunning) found.push(`The ${action} ${id} ${is_orphaned ? "is not heard of" : `was ${state}`}.`);
  }
  if (!stand.queue) found.push("The queue does not answer.");
  if (stand.oldest_unsent_seconds > ALERT_SECONDS) {
    const age = human(stand.oldest_unsent_seconds);
    found.push(`The oldest unsent has waited for ${age}, above ${human(ALERT_SECONDS)}.`);
  }
  const late = stand.inbox?.lag_seconds ?? 0;
  if (late > ALERT_SECONDS) found.push(`Events are folded ${human(late)} late.`);
  const aside = stand.events_aside?.count ?? 0;
  if (aside > 0) found.push(`${aside} events are set aside: kakitome events aside lists them.`);
  const { processed = 0, end = 0 } = stand.unconfirmed ?? {};
  if (processed > 0) found.push(`${processed} sent and not heard of: kakitome unconfirmed lists them.`);
  if (end > 0) found.push(`${end} sent without an end: kakitome unconfirmed lists them.`);
  const silent = (stand.callbacks ?? []).filter((callback) => callback.state !== "paused").length;
  if (silent > 0) found.push(`${silent} callbacks are told nothing: kakitome callbacks list says why.`);
  const dead = stand.by_status.failed ?? 0;
  if (dead > 0) found.push(`${dead} failed: look at why, mend it, redrive them.`);
  return found;
}

/** Fills a definition list, in place where the terms are the same. */
function define(list, pairs) {
  const cells = list.querySelectorAll("dd");
  if (cells.length !== pairs.length) {
    list.replaceChildren(...pairs.map(([term]) => el("div", null, el("dt", null, term), el("dd"))));
  }
  list.querySelectorAll("dd").forEach((cell, i) => {
    const value = pairs[i][1];
    if (typeof value === "string") say(cell, value);
    else cell.replaceChildren(value);
  });
}

function count(status, number) {
  let tile = $(`count-${status}`);
  if (!tile) {
    for (const [title, statuses] of GROUPS) {
      const tiles = statuses.map((name) => {
        const attributes = { id: `count-${name}`, class: "tile", href: `#/list?status=${name}`, "data-status": name };
        return el("a", attributes, el("b"), el("span", null, name));
      });
      $("counts").append(el("section", null, el("h3", null, title), el("div", { class: "tiles" }, tiles)));
    }
    tile = $(`count-${status}`);
  }
  tile.firstChild.textContent = number.toLocaleString();
  tile.classList.toggle("none", number === 0);
}

function showOverview() {
  const here = open("overview");
  document.title = "Overview · kakitome";
  say($("verdict"), "Looking …");
  const all = () => Promise.all([ask(API.status), ask(API.jobs, { query: { limit: JOBS_SHOWN } }), ask(API.stops)]);
  watch(here, all, ([stand, jobs, stops]) => {
    const found = troubles(stand);
    const verdict = found.length === 0 ? "All right" : "Not all right";
    say($("verdict"), verdict);
    document.title = `${verdict} · kakitome`;
    $("verdict-box").classList.toggle("bad", found.length > 0);
    $("verdict-box").classList.toggle("good", found.length === 0);
    $("troubles").replaceChildren(...found.map((text) => el("li", null, text)));
    const oldest = stand.oldest_unsent_since;
    define($("facts"), [
      ["Oldest unsent", oldest ? `waits for ${human(stand.oldest_unsent_seconds)}` : "nothing waits"],
      ["Drained", forecast(stand)],
      ["Sent lately", `${stand.sent_per_second.toFixed(1)} a second`],
      ["Queue last answered", stand.last_receive_at ? relative(stand.last_receive_at) : "not yet"],
    ]);
    for (const status of STATUSES) count(status, stand.by_status[status] ?? 0);
    const { visible, in_flight, delayed, dead } = stand.queue ?? {};
    const depth = [["Ready", visible], ["In flight", in_flight], ["Delayed", delayed], ["Dead", dead]];
    define($("queue"), depth.map(([term, number]) => [term, number?.toLocaleString() ?? "no answer"]));
    define($("events"), events(stand));
    showProviders(stand.providers);
    showStops(stops.items);
    showJobs(jobs.items);
  }, () => {
    // The last figures stay, faint; the last verdict would be a lie.
    say($("verdict"), "Not known");
    document.title = "Not known · kakitome";
    $("verdict-box").classList.remove("good", "bad");
    $("troubles").replaceChildren();
  });
}

/** What providers told, and how lately. */
function events(stand) {
  const { parcels, events, lag_seconds } = stand.inbox ?? {};
  const lag = lag_seconds ? `, the oldest for ${human(lag_seconds)}` : "";
  const waiting = parcels === 0 ? "none" : events != null ? `${events}${lag}` : `about ${parcels} parcels${lag}`;
  const newest = (stand.witnesses ?? []).map(({ provider, newest_event_at }) =>
    [`Newest of ${provider}`, newest_event_at ? relative(newest_event_at) : "none yet"]);
  return [
    ["Waiting to be folded", parcels == null ? "no answer" : waiting],
    ["That match nothing", stand.unmatched_events?.toLocaleString() ?? "no answer"],
    ...newest,
  ];
}

function forecast(stand) {
  if (stand.drain_seconds === 0) return "nothing is on its way";
  const isBlocked = (provider) => ["open", "refused", "held"].includes(provider.circuit);
  if (stand.providers.length > 0 && stand.providers.every(isBlocked)) return "not while no provider takes mail";
  if (stand.drain_seconds === null) return "no forecast: nothing is being sent";
  return `in about ${human(stand.drain_seconds)}`;
}

function showProviders(providers) {
  if (providers.length === 0) {
    const text = "None seen yet: this process runs no worker, or its worker has not begun.";
    return $("providers").replaceChildren(el("p", { class: "hint" }, text));
  }
  $("providers").replaceChildren(...providers.map((provider) => {
    const { name, circuit, since, probe_at, last_error } = provider;
    const tone = circuit === "closed" ? "good" : "bad";
    return el("article", { class: `provider ${tone}` },
      el("h3", null, name, " ", el("span", { class: "badge" }, circuit.replace("_", " "))),
      el("p", null, `It ${CIRCUITS[circuit] ?? circuit}. Circuit ${circuit.replace("_", " ")} for ${human((now() - Date.parse(since)) / 1000)}`,
        probe_at && circuit === "open" ? `; tried again ${due(probe_at)}.` : "."),
      last_error ? el("p", { class: "words" }, `Last error: ${last_error}`) : null);
  }));
}

/** What is held or cancelled until somebody releases it, also for what arrives later. */
function showStops(stops) {
  const rows = stops.map((stop) => [badge(stop.kind), scope(stop.scope), stop.reason, stop.who, time(stop.since)]);
  $("stops").replaceChildren(table(["What", "To", "Why", "By", "Since"], rows, "Nothing is stopped."));
}

/** What was done to many, the latest first. */
function showJobs(jobs) {
  const rows = jobs.map(({ id, action, filter, all, state, note, reason, who, created_at, progress }) => {
    const refused = Object.values(progress.refused).reduce((sum, count) => sum + count, 0);
    const outcome = action === "redrive" ? `, ${progress.sent} sent, ${progress.failed} failed again` : "";
    const done = `${progress.done} of ${progress.planned}${refused > 0 ? `, ${refused} refused` : ""}${outcome}`;
    const hint = ["stopped", "interrupted"].includes(state) ? ` · kakitome redrive --resume ${id}` : "";
    return [action, all ? "everything" : scope(filter), el("span", null, badge(state), ` ${note ?? ""}${hint}`),
      done, reason, el("span", null, `${who}, `, time(created_at))];
  });
  $("jobs").replaceChildren(table(["What", "To", "State", "Done", "Why", "By"], rows, "None so far."));
}

function scope(fields) {
  const words = Object.entries(fields).map(([name, value]) =>
    Array.isArray(value) && value.length > 1 ? `${value.length} ${name}` : `${name} ${value}`);
  return fields.all ? "everything" : words.join(", ") || "all";
}

// List.

/** Not in the address bar: a guest's address has no business in a browser's history. */
let recipient = "";
let listHash = "#/list";

const CHOICES = [["unsent", "all unsent"], ...STATUSES.map((status) => [status, status]), ["any", "any, the sent too"]];
$("f-status").append(...CHOICES.map(([value, label]) => el("option", { value }, label)));

function showList(asked, cursor = null) {
  const here = open("list");
  document.title = "Notifications · kakitome";
  listHash = location.hash || "#/list";
  const status = asked.get("status") ?? "unsent";
  $("f-status").value = CHOICES.some(([value]) => value === status) ? status : "unsent";
  $("f-order").value = asked.get("order") === "newest" ? "newest" : "oldest";
  for (const name of ["reason", "batch", "tenant"]) $(`f-${name}`).value = asked.get(name) ?? "";
  $("f-recipient").value = recipient;
  const query = { order: $("f-order").value, limit: PAGE_SIZE };
  if ($("f-status").value === "unsent") query.unsent = "true";
  else if ($("f-status").value !== "any") query.status = $("f-status").value;
  for (const name of ["reason", "batch", "tenant"]) if (asked.get(name)) query[name] = asked.get(name);
  if (recipient) query.recipient = recipient;
  if (cursor) query.cursor = cursor;

  $("rows").hidden = true;
  for (const id of ["more", "first"]) $(id).hidden = true;
  say($("list-note"), "Looking …");
  $("reload").onclick = () => showList(asked);
  $("first").onclick = () => showList(asked);
  look(here, () => ask(API.list, { query }), (page) => {
    say($("list-note"), note(page, cursor));
    $("rows").hidden = page.items.length === 0;
    $("rows").tBodies[0].replaceChildren(...page.items.map(row));
    $("first").hidden = !cursor;
    $("more").hidden = !page.next_cursor;
    $("more").onclick = () => {
      showList(asked, page.next_cursor);
      $("list-title").scrollIntoView();
    };
  }, () => say($("list-note"), "Nothing to show: see above. Reload tries again."));
}

function note(page, cursor) {
  if (page.items.length > 0) {
    const more = page.next_cursor ? "; there are more" : "";
    return `${page.items.length} ${cursor ? "on this page" : "shown"}${more}.`;
  }
  if (cursor) return "No more.";
  const isPlain = ["f-reason", "f-batch", "f-tenant", "f-recipient"].every((id) => $(id).value === "");
  if (isPlain && $("f-status").value === "unsent") return "Nothing is unsent: all that was accepted was handed to a provider.";
  return `Nothing matches. Clear the filter${$("f-status").value === "any" ? "" : ", or choose “any” as status"}.`;
}

function row(record) {
  const cell = (label, ...content) => el("td", { "data-label": label }, content);
  const [first, ...others] = record.recipients;
  const to = first ? first.email + (others.length > 0 ? ` and ${others.length} more` : "") : "–";
  const link = el("a", { href: `#/n/${record.id}`, class: "words" }, to);
  return el("tr", null,
    cell("Status", badge(record.status)),
    cell("Why", el("span", { class: "words" }, record.reason ?? "–")),
    cell("Accepted", el("span", null, time(record.accepted_at), el("small", null, ` ${relative(record.accepted_at)}`))),
    cell("Next attempt", record.next_attempt_at ? el("span", null, due(record.next_attempt_at)) : "–"),
    cell("To", link),
    cell("Tenant / batch", el("span", { class: "words" }, record.tenant + (record.batch ? ` / ${record.batch}` : ""))));
}

const badge = (word, tone = word) => el("span", { class: "badge", "data-status": tone }, word.replaceAll("_", " "));
const due = (iso) => (Date.parse(iso) - now() < 1000 ? "now" : relative(iso));

$("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  const asked = new URLSearchParams({ status: $("f-status").value, order: $("f-order").value });
  for (const name of ["reason", "batch", "tenant"]) {
    const value = $(`f-${name}`).value.trim();
    if (value) asked.set(name, value);
  }
  recipient = $("f-recipient").value.trim();
  go(`#/list?${asked}`);
});
$("clear").addEventListener("click", () => {
  recipient = "";
  go("#/list");
});

/** Goes there, even if the reader is there already. */
function go(hash) {
  if (location.hash === hash) route();
  else location.hash = hash;
}

// One notification.

function showDetail(id) {
  const here = open("detail");
  document.title = "Notification · kakitome";
  $("back").href = listHash;
  $("detail-title").replaceChildren("Looking …");
  say($("next"), "");
  $("actions").replaceChildren();
  $("record").replaceChildren();
  let shown = "";
  watch(here, () => ask(pathOf(API.show, id)), (record) => {
    say($("next"), `Next: ${next(record)}`);
    const text = JSON.stringify(record);
    // What has not changed stays, and with it what the reader has selected or focused.
    if (text === shown) return;
    shown = text;
    $("detail-title").replaceChildren(badge(record.status), " ", el("code", null, record.id));
    showActions(record);
    $("record").replaceChildren(...tell(record));
  }, (error) => {
    // Buttons for a state that nobody knows would be a trap; they come back with the next answer.
    shown = "";
    $("actions").replaceChildren();
    say($("next"), "");
    if (error.status !== 404) return;
    $("detail-title").replaceChildren("Not found");
    $("record").replaceChildren(el("p", null, "Check the id. A key sees only its own tenant's, unless it has the scope admin."));
  });
}

function next(record) {
  const at = (what) => (record.next_attempt_at ? `${what}: ${due(record.next_attempt_at)}` : what);
  switch (record.status) {
    case "accepted": return at("the first attempt");
    case "scheduled": return at("waits for its deliver_at; an attempt");
    case "attempting": return "an attempt is under way";
    case "retrying": return at("another attempt");
    case "unknown":
      return record.next_attempt_at
        ? at("waits for an event that says whether the provider took it; if none comes, sent again")
        : "waits for an event that says whether the provider took it; not sent again by itself";
    case "held": return "nothing by itself; release or cancel it";
    case "failed": return "nothing by itself; redrive sends it again, cancel lets it go";
    case "expired": return "nothing; its useful_until has passed, cancel takes it off the list";
    case "sent": return "the provider's events";
    default: return "nothing";
  }
}

function showActions(record) {
  const focused = document.activeElement?.dataset.action;
  const possible = Object.entries(ACTIONS).filter(([, action]) => action.from.includes(record.status));
  $("actions").replaceChildren(...possible.map(([name, action]) => {
    const attributes = { type: "button", "data-action": name, class: action.isGrave ? "grave" : null };
    const button = el("button", attributes, `${action.label} …`);
    button.addEventListener("click", () => propose(name, record));
    return button;
  }));
  if (focused) ($("actions").querySelector(`[data-action=${focused}]`) ?? $("main")).focus();
}

function tell(record) {
  const labels = Object.entries(record.metadata).map(([name, value]) => `${name} = ${value}`);
  const fields = [
    ["Reason", record.reason],
    ["In this status since", time(record.status_since)],
    ["Tenant", record.tenant],
    ["Batch", record.batch],
    ["Accepted", time(record.accepted_at)],
    ["Deliver at", time(record.deliver_at)],
    ["Useful until", time(record.useful_until)],
    ["Sent", time(record.sent_at)],
    ["Provider", record.provider],
    ["Provider's message id", record.provider_message_id],
    ["Opens", counted(record.engagement?.opens)],
    ["Clicks", counted(record.engagement?.clicks)],
    ["Metadata", labels.length > 0 ? el("ul", null, labels.map((label) => el("li", null, label))) : null],
  ];
  const shown = fields.filter(([, value]) => value);
  return [
    el("dl", { class: "facts wide" }, shown.map(([term, value]) => el("div", null, el("dt", null, term), el("dd", null, value)))),
    el("h2", null, "Recipients"),
    table(["Address", "As", "Status", "Since"], record.recipients.map((r) =>
      [r.email, r.kind, badge(r.status), r.status === "pending" ? null : time(r.since)]), ""),
    el("h2", null, "Attempts"),
    table(["No.", "Provider", "Began", "Took", "Outcome", "Answer"], record.attempts.map((a) => {
      const tone = a.outcome === "accepted" ? "sent" : a.outcome;
      return [String(a.number), a.provider, time(a.started_at), took(a), badge(a.outcome, tone), answer(a)];
    }), "None yet."),
    el("h2", null, "Events"),
    table(["When", "What", "Recipient", "Provider's words"], record.events.map((e) =>
      [time(e.at), badge(e.kind), e.recipient, words(e)]), "None yet: the provider has told nothing of it."),
  ];
}

function table(heads, rows, empty) {
  if (rows.length === 0) return el("p", { class: "hint" }, empty);
  const cell = (content, i) => el("td", { "data-label": heads[i] }, el("span", { class: "words" }, content ?? "–"));
  return el("table", null,
    el("thead", null, el("tr", null, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", null, rows.map((cells) => el("tr", null, cells.map(cell)))));
}

function took(attempt) {
  if (!attempt.ended_at) return null;
  const ms = Date.parse(attempt.ended_at) - Date.parse(attempt.started_at);
  return ms < 1000 ? `${ms} ms` : `${(ms / 1000).toFixed(1)} s`;
}

function answer(attempt) {
  const parts = [attempt.http_status ? `HTTP ${attempt.http_status}` : null, attempt.error];
  return parts.filter(Boolean).join(": ") || null;
}

function counted(both) {
  const { people = 0, machines = 0 } = both ?? {};
  return people + machines > 0 ? `${people} by people, ${machines} by machines` : null;
}

function words(event) {
  const said = Object.entries(event.detail).map(([name, value]) =>
    `${name}: ${typeof value === "string" ? value : JSON.stringify(value)}`);
  if (event.machine) said.unshift(`done by a machine, not a person (${(event.machine_reason ?? "?").replace("_", " ")})`);
  return said.join("\n") || null;
}

// Acting. Nothing happens before the reader has confirmed it, and then once.

function propose(name, record) {
  const action = ACTIONS[name];
  say($("confirm-title"), `${action.label} this notification?`);
  const to = record.recipients.map((r) => r.email);
  const who = to.length > 3 ? `${to.slice(0, 3).join(", ")} and ${to.length - 3} more` : to.join(", ");
  const isUnknown = ["unknown", "pending"].includes(record.attempts.at(-1)?.outcome);
  const warning = action.sends && isUnknown
    ? " Nobody knows whether the provider took it the last time: look into its own log first, or the mail may arrive twice."
    : "";
  say($("confirm-text"), `To ${who}. ${action.text}${warning}`);
  $("reason-label").hidden = !action.keepsReason;
  $("reason").value = "";
  say($("confirm-error"), "");
  say($("confirm-yes"), action.label);
  $("confirm-yes").classList.toggle("grave", Boolean(action.isGrave));
  $("confirm-form").onsubmit = async (event) => {
    event.preventDefault();
    if ($("confirm-yes").disabled) return;
    $("confirm-yes").disabled = true;
    const reason = $("reason").value.trim();
    try {
      await ask(pathOf(API[name], record.id), { body: action.keepsReason && reason ? { reason } : {} });
      if ($("confirm").open) route();
    } catch (error) {
      if (error.status === 401) {
        $("confirm").close();
        leave(error.message);
      } else say($("confirm-error"), outcome(error));
    } finally {
      $("confirm-yes").disabled = false;
    }
  };
  $("confirm").showModal();
  (action.keepsReason ? $("reason") : $("confirm-no")).focus();
}

/** Without an answer nobody knows whether it was done. */
const outcome = (error) =>
  error.status === 0 ? `${error.message} It may have been done: look at its status before trying again.` : error.message;

$("confirm-no").addEventListener("click", () => $("confirm").close());

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
say($("zone"), zone === "UTC" ? "Times are UTC." : `Times are ${zone}; hover for UTC.`);
$("skip").addEventListener("click", (event) => {
  // In the address bar it would be a place of its own.
  event.preventDefault();
  $("main").focus();
});
window.addEventListener("hashchange", route);
route();
