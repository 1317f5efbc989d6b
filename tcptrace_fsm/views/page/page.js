// --- one connection -------------------------------------------------------------------------------------------------
const dialog = document.getElementById("detail");
let table = null; // the Connections, once unpacked
let shown = null; // number of the connection in the dialog
let opener = null; // what had the focus when it opened
let drawn = []; // its graphs

/** Put a picture that this program drew into the page. It is parsed as XML, not as HTML, and the policy forbids script. */
function picture(text, name) {
  const parsed = new DOMParser().parseFromString(text, "image/svg+xml");
  if (parsed.querySelector("parsererror")) return el("p", { class: "quiet" }, `The ${name} cannot be shown.`);
  return el("div", { class: "drawn" }, document.importNode(parsed.documentElement, true));
}

const severity = (name) => el("span", { class: `severity ${name}` }, name);
const pair = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

async function open(id) {
  const at = table.places.get(id);
  if (at === undefined) return;
  const r = table.rows;
  const place = meta.ladders.indexOf(id);
  const detail = place < 0 ? null : (await unpacked(`connections-${Math.floor(place / meta.together)}`))?.[id];
  if (!dialog.open) opener = document.activeElement;
  close(false);
  shown = id;
  const [client, server] = [socket(r.hosts[r.client[at]], r.client_port[at]), socket(r.hosts[r.server[at]], r.server_port[at])];
  const step = (text, by, label) => {
    const next = table.beside(id, by);
    return el("button", { type: "button", "aria-label": label, title: label, disabled: next === null, onclick: () => open(next) }, text);
  };
  const top = el("div", { class: "top" },
    el("h2", { id: "detail-title", tabindex: "-1" }, `Connection ${id}  `, el("span", { class: "mono" }, `${client} → ${server}`)),
    step("↑", -1, "Connection before, as the table stands"), step("↓", 1, "Connection after, as the table stands"),
    el("button", { type: "button", onclick: () => window.print() }, "Print"),
    el("button", { type: "button", onclick: () => dialog.close() }, "Close"));
  const numbers = el("dl", { class: "numbers" },
    pair("opened", meta.openings[r.opening[at]]), pair("closed", meta.closings[r.closing[at]]),
    pair("at the end", `${meta.states[r.client_state[at]]} / ${meta.states[r.server_state[at]]}`),
    pair("lasts", duration(r.duration[at])), pair("sent", bytes(r.client_bytes[at])), pair("received", bytes(r.server_bytes[at])),
    pair("segments", number(r.segments[at])), pair("sent again", number(r.again[at])), pair("RTT", r.rtt[at] < 0 ? "not seen" : duration(r.rtt[at])),
    pair("longest wait", wait(r, at) || "none"));
  const times = el("figure", { class: "times" }, bar(r, at), el("figcaption", {}, el("ul", { class: "key", "aria-label": "Where the time went" },
    ...went(r, at).map(([k, share]) => el("li", {}, el("span", { class: `swatch went-${k}` }), `${meta.went[k]} `, el("b", {}, duration(r.duration[at] * share / 1000)))))));
  const inside = el("div", { class: "inside" });
  dialog.replaceChildren(top, inside);
  const head = el("div", { class: "wide" }, numbers, r.duration[at] ? times : "");
  inside.append(head);
  if (!dialog.open) dialog.showModal();
  history.replaceState(null, "", `#c${id}`);
  if (detail) show(detail, head, inside);
  else missing(id, at, head);
  dialog.scrollTop = 0;
  document.getElementById("detail-title").focus();
}

/** Everything about a connection that is in the page. */
function show(detail, head, inside) {
  if (detail.findings.length) {
    head.append(el("ul", { class: "told" }, ...detail.findings.toSorted((a, b) => meta.severities.indexOf(b[0]) - meta.severities.indexOf(a[0])).map(([level, kind, , frame, message]) =>
      el("li", {}, severity(level), el("span", {}, el("span", { class: "mono" }, kind), ` ${message}`, frame === null ? "" : el("span", { class: "quiet" }, `  frame ${frame}`))))));
  }
  if (detail.timeline) inside.append(el("figure", { class: "wide" }, picture(detail.timeline, "timeline"),
    el("figcaption", { class: "quiet" }, "States of both ends. Not to scale: between two changes, time is drawn by its logarithm. Hatched: presumed or inferred.")));
  const ladder = el("section", { "aria-label": "Ladder", id: "ladder" }, picture(detail.ladder, "ladder"));
  const beside = el("div", { class: "graphs" });
  inside.append(ladder, beside);
  drawn = [sequenceGraph(beside, detail.ways, "time"), rttGraph(beside, detail.ways, "time"), throughputGraph(beside, detail.ways, "time")].filter(Boolean);
  if (detail.kept < detail.total) beside.append(el("p", { class: "quiet" }, `Drawn from a sample of ${number(detail.kept)} of its ${number(detail.total)} segments.`));
  beside.append(el("details", { class: "as-table" }, el("summary", {}, `${number(detail.changes.length)} changes of state, as a table`),
    el("table", { class: "changes" }, el("thead", {}, el("tr", {}, ...["time", "side", "from", "to", "event", "basis", "frame"].map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, ...detail.changes.map(([side, time, from, to, event, basis, frame]) =>
        el("tr", {}, ...[`${(time / 1e9).toFixed(6)} s`, side, from, to, event, basis, frame ?? ""].map((text) => el("td", {}, String(text)))))))));
}

/** What there is to say of a connection whose ladder is not in the page. */
function missing(id, at, head) {
  const kinds = table.found(at);
  if (kinds.length) head.append(el("ul", { class: "told" }, ...kinds.map((kind) => el("li", {}, severity(meta.severities[table.severity.get(kind)]), el("span", { class: "mono" }, kind)))));
  head.append(el("p", {}, "Its ladder and graphs are not in this page, which holds those of connections with findings and of the largest. To see its ladder: ",
    el("code", {}, `${meta.command} ${id}`)));
}

function close(restore = true) {
  drawn.forEach((graph) => graph.remove());
  drawn = [];
  const id = shown;
  shown = null;
  if (!restore || id === null) return;
  history.replaceState(null, "", location.pathname + location.search);
  if (opener?.closest?.(".rows")) table.point(id);
  else opener?.focus?.();
}

dialog.addEventListener("close", () => close());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});

// --- the page -------------------------------------------------------------------------------------------------------
function follow() {
  const wanted = /^#c(\d+)$/.exec(location.hash);
  if (wanted && Number(wanted[1]) !== shown) open(Number(wanted[1]));
  const kind = /^#kind-/.test(location.hash) && document.getElementById(location.hash.slice(1));
  if (kind) kind.open = true;
}

/** Light or dark: as the system says until the reader says otherwise; on paper always light. */
function dress() {
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  let wanted = null;
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
    button.textContent = theme === "dark" ? "Light" : "Dark";
    redraw();
  };
  const follow = () => set(wanted ?? (system.matches ? "dark" : "light"));
  button.addEventListener("click", () => {
    wanted = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    follow();
  });
  system.addEventListener("change", follow);
  window.addEventListener("beforeprint", () => set("light"));
  window.addEventListener("afterprint", follow);
  follow();
  button.hidden = false;
}

async function begin() {
  dress();
  if (typeof DecompressionStream === "undefined") {
    document.getElementById("table").replaceChildren(el("p", {}, "This browser is too old to unpack the table, the graphs and the ladders: it knows no DecompressionStream."));
    return;
  }
  const [rows, occupancy] = await Promise.all([unpacked("table"), unpacked("occupancy")]);
  table = new Connections(document.getElementById("table"), rows, open);
  const place = document.getElementById("occupancy");
  if (occupancy.hosts.length) occupancyGraph(place, occupancy);
  else place.replaceChildren(el("p", {}, "There were no connections."));
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a.connection");
    const filter = event.target.closest?.("button.filter");
    if (link) {
      event.preventDefault();
      open(Number(link.hash.slice(2)));
    } else if (filter) {
      if (filter.dataset.ids) table.these(filter.dataset.ids.split(",").map(Number));
      else table.only(filter.dataset.kind);
      document.getElementById("connections").scrollIntoView();
      table.search.focus({ preventScroll: true });
    }
  });
  window.addEventListener("hashchange", follow);
  follow();
  if (shown === null && location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView(); // what stands there has moved
  document.documentElement.dataset.ready = "";
}

begin();
