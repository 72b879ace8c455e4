"use strict";

const FAULTS = {
  none: "The provider answers as it should.",
  error: "The provider answers 500. After five calls, half of them failed, the circuit opens for 5 s: orders are kept and paid later.",
  hang: "The provider charges and never answers. The client gives up after 2 s and asks again with the same order id: nothing is charged twice.",
  slow: "The provider answers after 1.5 s.",
  decline: "The provider declines new charges: the order is cancelled and its portions are back.",
};
// What the layers and the service add to an answer.
const FIELDS = ["ratelimit-policy", "ratelimit", "retry-after", "allow", "x-request-id"];
const MEMBERS = ["reason", "policy", "detail", "field", "order_id", "order_status", "status", "total_cents", "available"];
const KEPT_ANSWERS = 40;

const element = (id) => document.getElementById(id);
const rows = new Map();

/** Makes an element; text goes in as text, so that nothing from the network becomes markup. */
function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

async function ask(method, path, body) {
  const started = performance.now();
  const init = { method, headers: {}, cache: "no-store" };
  if (body !== undefined) {
    init.headers["content-type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  try {
    const response = await fetch(path, init);
    const text = await response.text();
    let json = {};
    try { json = JSON.parse(text); } catch { /* no JSON: nothing to show */ }
    return { status: response.status, headers: response.headers, json, took: performance.now() - started };
  } catch {
    return { status: 0, headers: new Headers(), json: { detail: "no answer" }, took: performance.now() - started };
  }
}

function tone(status) {
  if (status >= 200 && status < 300) return "good";
  return status >= 500 || status === 0 ? "bad" : "warn";
}

function show(what, answer) {
  const item = make("li", tone(answer.status));
  const head = make("div", "head");
  head.append(
    make("span", "status", answer.status || "—"),
    make("span", "what", what),
    make("span", "took", `${Math.round(answer.took)} ms`),
  );
  const fields = make("dl", "fields");
  const add = (name, value) => fields.append(make("dt", "", name), make("dd", "", value));
  for (const name of FIELDS) {
    if (answer.headers.has(name)) add(name, answer.headers.get(name));
  }
  for (const name of MEMBERS) {
    const value = answer.json[name];
    if (value !== undefined && value !== null && value !== answer.status) add(name, String(value));
  }
  item.append(head, fields);
  const list = element("answers");
  list.prepend(item);
  while (list.childElementCount > KEPT_ANSWERS) list.lastElementChild.remove();
  element("silence").hidden = true;
}

const euros = (cents) => (cents / 100).toFixed(2);

function row(dish) {
  const item = make("li");
  const button = make("button", "", "Order");
  button.type = "button";
  button.setAttribute("aria-label", `Order ${dish.name}`);
  button.addEventListener("click", async () => {
    button.disabled = true;
    show(dish.name, await order(dish.id));
    button.disabled = false;
    await refresh();
  });
  const about = make("span", "about");
  item.append(make("span", "name", dish.name), about, button);
  element("dishes").append(item);
  return { item, about, name: dish.name.toLowerCase() };
}

function order(dish) {
  return ask("POST", "/orders", { user_id: element("user").value, items: [{ dish_id: dish, quantity: 1 }] });
}

async function refresh() {
  const answer = await ask("GET", "/dishes");
  if (answer.status !== 200) return;
  for (const dish of answer.json) {
    if (!rows.has(dish.id)) rows.set(dish.id, row(dish));
    const { item, about } = rows.get(dish.id);
    about.textContent = `${euros(dish.price_cents)} · ${dish.stock === 0 ? "sold out" : `${dish.stock} left`}`;
    item.classList.toggle("gone", dish.stock === 0);
  }
  find();
}

function find() {
  const words = element("find").value.trim().toLowerCase();
  let found = 0;
  for (const { item, name } of rows.values()) {
    item.hidden = !name.includes(words);
    if (!item.hidden) found += 1;
  }
  element("nothing").hidden = found > 0;
}

function lamp(id, text, kind) {
  const made = element(id);
  made.textContent = text;
  made.className = `lamp ${kind}`;
}

async function watch() {
  const { status, json } = await ask("GET", "/health/ready");
  lamp("ready", json.status ?? "away", status === 200 ? "good" : "bad");
  const circuit = json.payment_circuit ?? "unknown";
  lamp("circuit", circuit.replace("_", " "), { closed: "good", open: "bad" }[circuit] ?? "warn");
  const unsettled = json.unsettled_orders ?? "unknown";
  lamp("unsettled", String(unsettled), unsettled === 0 ? "good" : "warn");
}

function press(mode) {
  for (const button of element("faults").children) {
    button.setAttribute("aria-pressed", String(button.value === mode));
  }
  element("hint").textContent = FAULTS[mode] ?? "";
}

function offerFaults() {
  for (const mode of Object.keys(FAULTS)) {
    const button = make("button", "", mode);
    button.type = "button";
    button.value = mode;
    button.addEventListener("click", async () => {
      const answer = await ask("POST", "/admin/payment-fault", { mode });
      show(`payment fault: ${mode}`, answer);
      if (answer.status === 200) press(mode);
    });
    element("faults").append(button);
  }
}

/** Sends many requests at once and shows one answer of each status. */
async function many(button, what, count, send) {
  button.disabled = true;
  const byStatus = new Map();
  const answers = await Promise.all(Array.from({ length: count }, send));
  for (const answer of answers) {
    const seen = byStatus.get(answer.status);
    byStatus.set(answer.status, { answer, times: (seen?.times ?? 0) + 1 });
  }
  for (const { answer, times } of byStatus.values()) show(`${times} × ${what}`, answer);
  button.disabled = false;
  await refresh();
}

async function main() {
  offerFaults();
  element("find").addEventListener("input", find);
  element("clear").addEventListener("click", () => {
    element("answers").replaceChildren();
    element("silence").hidden = false;
  });
  element("panic").addEventListener("click", async () => show("panic", await ask("POST", "/admin/panic", {})));
  element("rush").addEventListener("click", (event) => many(event.target, "order of dish 1", 20, () => order(1)));
  element("flood").addEventListener("click", (event) => many(event.target, "dish 1", 1200, () => ask("GET", "/dishes/1")));
  press((await ask("GET", "/admin/payment-fault")).json.mode);
  await Promise.all([refresh(), watch()]);
  setInterval(watch, 2000);
  setInterval(refresh, 10000);
}

main();
