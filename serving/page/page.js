"use strict";
// Scores come from the public V2 endpoint of each service. All text is set as text, never as HTML: titles are untrusted.

const SHOWN = 10;
const SOURCES = {
  stored: "was scored in batch and read from the online store",
  computed: "was computed by the experts for this request",
  default: "is not known: the market's mean stands for it",
};
const byId = id => document.getElementById(id);
const services = [];
let latest = 0;  // the newest search; an answer to an older one is dropped

async function ask(url, options) {
  const began = performance.now();
  let answer, body;
  try {
    answer = await fetch(url, options);
    body = await answer.json();
  } catch (error) {
    throw new Error(`${new URL(url, location).origin} does not answer (${error.message})`);
  }
  if (!answer.ok) throw new Error(body.error ?? `status ${answer.status}`);
  return { body, ms: performance.now() - began };
}

async function infer(service, model, inputs) {
  const tensors = Object.entries(inputs).map(([name, data]) => ({ name, datatype: "BYTES", shape: [data.length], data }));
  // By its version: where two releases share an address, one without it goes to the release of its user.
  const { body, ms } = await ask(`${service.url}/v2/models/${model}/versions/${service.about.release}/infer`, {
    method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ inputs: tensors }),
  });
  const outputs = Object.fromEntries(body.outputs.map(output => [output.name, output]));
  return { outputs, version: body.model_version, parameters: body.parameters ?? {}, ms };
}

async function ranked(service, asked) {
  const where = new URLSearchParams({ market: asked.market, query: asked.query, n: asked.count });
  const found = await ask(`${service.url}/page/candidates?${where}`);
  const items = new Map(found.body.items.map(item => [item.item_id, item]));
  if (!items.size) return { rows: [], retrieval: found.ms, ms: 0, version: service.about.release, parameters: {} };
  const ids = [...items.keys()];
  if (!service.about.has_search) {  // such a release knows no user: relevance alone orders its page
    const pairs = await experts(service, asked, ids.map(id => items.get(id).title));
    const rows = ids.map((id, i) => ({ ...items.get(id), ...pairs.rows[i], score: pairs.rows[i].relevance, source: "computed" }));
    rows.sort((a, b) => b.score - a.score);
    return { rows, retrieval: found.ms, ms: pairs.ms, version: pairs.version, parameters: {} };
  }
  const page = await infer(service, "search", { market: [asked.market], user_id: [asked.user], query: [asked.query], item_ids: ids });
  const column = name => page.outputs[name].data;
  const rows = column("item_ids").map((id, i) => ({
    ...items.get(id), score: column("score")[i], relevance: column("relevance")[i], p_click: column("p_click")[i],
    p_purchase: column("p_purchase")[i], source: column("relevance_source")[i],
  }));
  return { rows, retrieval: found.ms, ms: page.ms, version: page.version, parameters: page.parameters };
}

async function experts(service, asked, titles) {
  const answer = await infer(service, "relevance", {
    market: titles.map(() => asked.market), query: titles.map(() => asked.query), title: titles,
  });
  const k = answer.outputs.experts.shape[1];
  const rows = titles.map((_, i) => ({
    relevance: answer.outputs.relevance.data[i],
    experts: answer.outputs.experts.data.slice(i * k, i * k + k).map(slot => service.about.experts[slot] ?? `expert ${slot}`),
  }));
  return { rows, ms: answer.ms, version: answer.version };
}

const element = (name, text, className) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
};

function card(row, place, language, page, other, whyExperts) {
  const made = byId("item").content.cloneNode(true);
  const title = element("bdi", row.title);
  title.lang = language;
  made.querySelector("h3").append(element("span", `${place + 1}`, "rank"), title);
  const facts = [row.price === null ? null : `price ${row.price.toLocaleString("en")}`, row.item_id];
  if (other) {
    const there = other.findIndex(each => each.item_id === row.item_id);
    facts.push(there < 0 ? "not on the other page" : there === place ? "same place there" : `place ${there + 1} there`);
  }
  made.querySelector(".facts").textContent = facts.filter(Boolean).join(" · ");
  const scores = made.querySelector(".scores");
  const blended = row.p_click !== undefined;  // else relevance alone orders the page
  for (const [label, value] of [["blend", blended ? row.score : undefined], ["relevance", row.relevance], ["p(click)", row.p_click], ["p(purchase)", row.p_purchase]]) {
    if (value === undefined) continue;
    const meter = element("meter");
    meter.value = value;
    meter.setAttribute("aria-hidden", "true");
    const cell = element("div");
    cell.append(element("dt", label), element("dd", value.toFixed(3)), meter);
    scores.append(cell);
  }
  const why = made.querySelector(".why");
  why.append(element("li", `Relevance ${row.relevance.toFixed(3)} ${SOURCES[row.source] ?? row.source} (${row.source}).`));
  if (blended) {
    why.append(element("li", `This user clicks with probability ${row.p_click.toFixed(3)} and buys with ${row.p_purchase.toFixed(3)}.`));
    why.append(element("li", `The blend of the three is ${row.score.toFixed(3)}; it orders the page.`));
  }
  const unknown = [];
  if (page.parameters.user_known === false) unknown.push("everything about this user (a new user's features stand in)");
  if (row.source === "default") unknown.push("the relevance of this item to this query");
  why.append(element("li", `Unknown features: ${unknown.join("; ") || "none that the answer tells of"}.`));
  const asked = element("li", "Experts: not asked yet.", "experts");
  why.append(asked);
  made.querySelector("details").addEventListener("toggle", event => { if (event.target.open) whyExperts(place, asked); }, { once: true });
  return made;
}

function show(service, page, asked, other) {
  const made = byId("release").content.cloneNode(true);
  made.querySelector("h2").textContent = `Release ${page.version}${service.url ? ` at ${service.url}` : ""}`;
  const told = [`candidates ${page.retrieval.toFixed(0)} ms`, `ranked in ${page.ms.toFixed(0)} ms`, `${page.rows.length} items`];
  for (const [name, value] of Object.entries(page.parameters)) if (name !== "request_id") told.push(`${name}: ${value}`);
  made.querySelector(".told").textContent = told.join(" · ");
  const shown = page.rows.slice(0, SHOWN);
  let answer;  // of the relevance model for all shown items, asked for once and when someone wants to know
  const whyExperts = async (place, target) => {
    target.textContent = "Experts: asking …";
    try {
      answer ??= experts(service, asked, shown.map(row => row.title));
      const row = (await answer).rows[place];
      target.textContent = `Experts asked: ${row.experts.join(", ")}; together they say ${row.relevance.toFixed(3)}.`;
    } catch (error) {
      target.textContent = `Experts: ${error.message}`;
    }
  };
  const language = service.about.markets[asked.market].language;
  made.querySelector("ol").append(...shown.map((row, place) => card(row, place, language, page, other, whyExperts)));
  return made;
}

function failed(service, error) {
  const made = byId("release").content.cloneNode(true);
  made.querySelector("h2").textContent = service.url || "This service";
  made.querySelector(".told").append(element("span", error.message, "error"));
  return made;
}

async function search() {
  const asked = { market: byId("market").value, user: byId("user").value.trim(), query: byId("query").value, count: byId("count").value };
  const own = ++latest;
  byId("status").textContent = "Searching …";
  const pages = await Promise.all(services.map(service => ranked(service, asked).catch(error => error)));
  if (own !== latest) return;
  const rows = pages.map(page => (page instanceof Error ? null : page.rows));
  byId("releases").replaceChildren(...pages.map((page, i) =>
    page instanceof Error ? failed(services[i], page) : show(services[i], page, asked, services.length > 1 ? rows[1 - i] : null)));
  const first = rows[0];
  byId("status").textContent = first === null ? "The search failed." : first.length
    ? `The first ${Math.min(SHOWN, first.length)} of ${first.length} items for “${asked.query}” in ${asked.market}.`
    : `No item of ${asked.market} matches “${asked.query}”; try other words.`;
}

const options = values => values.map(value => { const made = element("option"); made.value = value; return made; });

function chooseMarket() {
  const market = services[0].about.markets[byId("market").value];
  byId("query").lang = market.language;
  byId("users").replaceChildren(...options(market.users));
  byId("queries").replaceChildren(...options(market.queries));
  byId("user").value = market.users[0] ?? "anonymous";
}

async function add(url) {
  const { body } = await ask(`${url}/page/release.json`);
  services[url === "" ? 0 : 1] = { url, about: body };
}

async function start() {
  await add("");
  const { markets, reports } = services[0].about;
  byId("market").append(...Object.keys(markets).map(name => element("option", name)));
  chooseMarket();
  byId("reports").append(...reports.map(name => Object.assign(element("a", `Report: ${name}`), { href: `reports/${name}.html` })));
  byId("market").addEventListener("change", chooseMarket);
  // While an input method composes, Enter picks its candidate: only some browsers keep it from the form.
  byId("query").addEventListener("keydown", event => {
    if (event.key === "Enter" && (event.isComposing || event.keyCode === 229)) event.preventDefault();
  });
  byId("search").addEventListener("submit", event => { event.preventDefault(); search(); });
  byId("second").addEventListener("submit", async event => {
    event.preventDefault();
    const address = byId("address").value.replace(/\/$/, "");
    try {
      if (address) await add(address); else services.length = 1;
      byId("status").textContent = address ? `Release ${services[1].about.release} is searched, too.` : "One release is searched.";
      if (byId("query").value) await search();
    } catch (error) {
      byId("status").textContent = error.message;
    }
  });
  const second = new URLSearchParams(location.search).get("with");
  if (second) {
    byId("address").value = second;
    byId("compare").open = true;
    byId("second").requestSubmit();
  }
}

start().catch(error => { byId("status").textContent = error.message; });
