// --- reading what is in the page ------------------------------------------------------------------------------------
const meta = JSON.parse(document.getElementById("meta").textContent);

/** Unpack one of the page's data: JSON, compressed, in base64. */
async function unpacked(id) {
  const packed = document.getElementById(`data-${id}`);
  if (!packed) return null;
  const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

/** Make an element. Texts become text nodes: nothing that a capture holds is ever read as HTML. */
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return made;
}

const figures = new Intl.NumberFormat("en");
const number = (n) => figures.format(n);

/** A length of time as people say it; ns. */
function duration(ns) {
  const s = ns / 1e9;
  if (ns < 0) return "";
  if (s === 0) return "0";
  if (s < 1e-3) return `${+(s * 1e6).toPrecision(3)} us`;
  if (s < 1) return `${+(s * 1e3).toPrecision(3)} ms`;
  if (s < 60) return `${+s.toPrecision(3)} s`;
  const whole = Math.round(s);
  for (const [unit, length, smaller, part] of [["d", 86400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]]) {
    if (whole >= length) {
      const rest = Math.floor((whole % length) / part);
      return `${number(Math.floor(whole / length))} ${unit}${rest ? ` ${rest} ${smaller}` : ""}`;
    }
  }
}

/** A number of bytes in at most three figures. */
function bytes(n) {
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e4]]) {
    if (n >= size) return `${+(n / (unit === "kB" ? 1e3 : size)).toPrecision(3)} ${unit}`;
  }
  return number(n);
}

const socket = (host, port) => (host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`);

// --- where the time went ---------------------------------------------------------------------------------------------
/** What it went for, the largest share first: number in meta.went, per thousand. */
const went = (r, i) => r.went.map((shares, k) => [k, shares[i]]).filter(([, share]) => share > 0).sort((a, b) => b[1] - a[1]);

/** How long somebody was waited for, ns: all but what was on its way, and a client that has nothing to say. */
const waited = (r, i) => r.duration[i] * r.went.reduce((sum, shares, k) => sum + (/^transfer|^client's application/.test(meta.went[k]) ? 0 : shares[i]), 0) / 1000;

const wait = (r, i) => (r.longest[i] < 0 ? "" : `${duration(r.longest[i])} ${meta.waits[r.longest_for[i]].replace("_", " ")}`);

/** A bar of these shares. */
function bar(r, i) {
  const parts = r.went.map((shares, k) => {
    const part = shares[i] > 0 && el("i", { class: `went-${k}` });
    if (part) part.style.flexGrow = shares[i];
    return part;
  });
  return el("span", { class: "went-bar", role: "img", "aria-label": went(r, i).map(([k, share]) => `${meta.went[k]} ${share / 10}%`).join(", ") || "no time" }, ...parts.filter(Boolean));
}

// --- the table of connections ---------------------------------------------------------------------------------------
const ROW = 28; // px; every row is as high, so that only those in sight need be there
const SPARE = 12; // rows drawn above and below what is in sight

/** The table of connections: sorted, filtered, and with only those rows in the document that are seen. */
class Connections {
  constructor(place, rows, open) {
    this.rows = rows;
    this.open = open;
    this.count = rows.id.length;
    this.severity = new Map(meta.kinds.map((kind) => [kind.kind, meta.severities.indexOf(kind.severity)]));
    this.worst = new Int8Array(this.count).fill(-1);
    this.places = new Map();
    rows.id.forEach((id, i) => this.places.set(id, i));
    for (const [id, kinds] of Object.entries(rows.findings)) {
      kinds.sort((a, b) => this.severity.get(rows.kinds[b]) - this.severity.get(rows.kinds[a]));
      this.worst[this.places.get(Number(id))] = this.severity.get(rows.kinds[kinds[0]]);
    }
    this.ladders = new Set(meta.ladders);
    this.columns = this.declared();
    this.sorting = { column: 0, down: false };
    this.active = 0;
    this.first = this.last = -1;
    this.build(place);
    this.choose();
  }

  /** What the columns are: head, width in px, what sorts, what shows. */
  declared() {
    const r = this.rows;
    const state = (i) => `${meta.states[r.client_state[i]]} / ${meta.states[r.server_state[i]]}`;
    const num = (head, width, key, show, title) => ({ head, width, number: true, title, key: (i) => r[key][i], show: (i) => show(r[key][i]) });
    return [
      { head: "#", width: 54, number: true, title: "number of the connection", key: (i) => r.id[i], show: (i) => String(r.id[i]) },
      { head: "client", width: 156, kind: "address", key: (i) => r.client[i] * 65536 + r.client_port[i], show: (i) => socket(r.hosts[r.client[i]], r.client_port[i]) },
      { head: "server", width: 156, kind: "address", key: (i) => r.server[i] * 65536 + r.server_port[i], show: (i) => socket(r.hosts[r.server[i]], r.server_port[i]) },
      { head: "findings", width: 160, kind: "found", key: (i) => this.worst[i] * 1000 + this.found(i).length, show: (i) => this.found(i).join(", ") },
      { head: "longest wait", width: 188, number: true, kind: "wait", title: "the longest standstill, and whom it waited for", key: (i) => r.longest[i], show: (i) => wait(r, i) },
      { head: "where the time went", width: 158, kind: "went", title: "shares of its duration; sorts by how long somebody was waited for, other than the client's application", key: (i) => waited(r, i), show: (i) => went(r, i).map(([k, share]) => `${meta.went[k]} ${share / 10}%`).join(", "), draw: (i) => bar(r, i) },
      num("begins", 80, "start", (ns) => `${(ns / 1e9).toFixed(ns < 1e12 ? 3 : 0)} s`, "seconds since the first connection"),
      num("lasts", 78, "duration", duration, "from its first segment to its last"),
      { head: "opened", width: 88, key: (i) => r.opening[i], show: (i) => meta.openings[r.opening[i]] },
      { head: "closed", width: 88, key: (i) => r.closing[i], show: (i) => meta.closings[r.closing[i]] },
      { head: "states at the end", width: 172, title: "client / server", key: (i) => r.client_state[i] * 16 + r.server_state[i], show: state },
      num("sent", 58, "client_bytes", bytes, "payload from the client, bytes"),
      num("received", 66, "server_bytes", bytes, "payload from the server, bytes"),
      num("segments", 74, "segments", number, "both ways"),
      num("again", 48, "again", (n) => (n ? number(n) : "·"), "segments sent again, both ways"),
      num("RTT", 68, "rtt", duration, "of the handshake, as seen at the capture point"),
    ];
  }

  found(i) {
    return (this.rows.findings[this.rows.id[i]] || []).map((kind) => this.rows.kinds[kind]);
  }

  build(place) {
    const r = this.rows;
    const option = (text, value) => el("option", { value }, text);
    const chooser = (name, words, used) => {
      const present = words.map((word, i) => [word, i]).filter(([, i]) => used.has(i));
      return el("select", { "aria-label": name, onchange: () => this.choose() }, option(`${name}: any`, ""), ...present.map(([word, i]) => option(word, i)));
    };
    this.search = el("input", {
      type: "search", placeholder: "Search: address, port, state, finding, #number", "aria-label": "Search connections",
      autocomplete: "off", spellcheck: "false", oninput: () => this.choose(),
    });
    this.kind = el("select", { "aria-label": "Finding", onchange: () => this.choose() }, option("finding: any or none", ""), option("finding: any", "*"),
      ...meta.kinds.filter((kind) => r.kinds.includes(kind.kind)).map((kind) => option(`${kind.kind} (${kind.severity})`, kind.kind)));
    this.opened = chooser("opened", meta.openings, new Set(r.opening));
    this.closed = chooser("closed", meta.closings, new Set(r.closing));
    this.state = chooser("state at the end", meta.states, new Set([...new Set(r.client_state), ...new Set(r.server_state)]));
    this.told = el("output", { "aria-live": "polite" });
    const clear = el("button", { type: "button", onclick: () => this.clear() }, "Clear");
    this.heads = this.columns.map((column, i) =>
      el("th", { scope: "col", class: column.number ? "number" : "", "aria-sort": "none", title: column.title },
        el("button", { type: "button", onclick: () => this.sortBy(i) }, column.head)));
    this.body = el("tbody", { onclick: (event) => this.clicked(event), onkeydown: (event) => this.pressed(event) });
    const widths = el("colgroup", {}, ...this.columns.map((column) => {
      const col = el("col");
      col.style.width = `${column.width}px`;
      return col;
    }));
    this.table = el("table", { class: "rows", "aria-rowcount": this.count + 1 },
      el("caption", {}, "Connections. The heads sort. In a row, Enter opens the connection, the arrow keys move."),
      widths, el("thead", {}, el("tr", { "aria-rowindex": 1 }, ...this.heads)), this.body);
    this.none = el("p", { class: "empty", hidden: true }, "No connection is like that.");
    this.scroller = el("div", { class: "scroller", role: "region", "aria-label": "Table of connections", tabindex: "-1", onscroll: () => this.draw() }, this.table, this.none);
    place.replaceChildren(el("div", { class: "controls", role: "search" }, this.search, this.kind, this.opened, this.closed, this.state, clear, this.told), this.scroller);
    window.addEventListener("resize", () => this.draw(true));
    window.addEventListener("beforeprint", () => this.draw(true, 500));
    window.addEventListener("afterprint", () => this.draw(true));
  }

  /** Texts to search in, one for each connection; made when first needed. */
  get texts() {
    if (!this.searched) {
      this.searched = Array.from({ length: this.count }, (_, i) =>
        `#${this.columns.filter((column) => !column.number || column.head === "#").map((column) => column.show(i)).join(" ")}\n`.toLowerCase());
    }
    return this.searched;
  }

  /** Show those connections alone, until the filters are cleared. */
  these(ids) {
    this.only("");
    this.chosen = new Set(ids);
    this.choose();
  }

  clear() {
    this.chosen = null;
    this.search.value = this.kind.value = this.opened.value = this.closed.value = this.state.value = "";
    this.choose();
    this.search.focus();
  }

  only(kind) {
    this.chosen = null;
    this.search.value = this.opened.value = this.closed.value = this.state.value = "";
    this.kind.value = kind;
    this.choose();
  }

  /** Filter, then sort. */
  choose() {
    const r = this.rows;
    const words = this.search.value.toLowerCase().split(/\s+/).filter(Boolean)
      .map((word) => (/^#\d+$/.test(word) ? `${word} ` : word)); // a number is meant whole
    const texts = words.length ? this.texts : null;
    const kind = this.kind.value;
    const wanted = (chooser) => (chooser.value === "" ? -1 : Number(chooser.value));
    const [opened, closed, state] = [wanted(this.opened), wanted(this.closed), wanted(this.state)];
    const kept = [];
    for (let i = 0; i < this.count; i++) {
      if (this.chosen && !this.chosen.has(r.id[i])) continue;
      if (opened >= 0 && r.opening[i] !== opened) continue;
      if (closed >= 0 && r.closing[i] !== closed) continue;
      if (state >= 0 && r.client_state[i] !== state && r.server_state[i] !== state) continue;
      if (kind === "*" ? this.worst[i] < 0 : kind && !this.found(i).includes(kind)) continue;
      if (words.length && !words.every((word) => texts[i].includes(word))) continue;
      kept.push(i);
    }
    this.order = Uint32Array.from(kept);
    this.sort();
  }

  sortBy(column) {
    this.sorting = { column, down: this.sorting.column === column ? !this.sorting.down : (this.columns[column].number && column > 0) || this.columns[column].kind === "found" };
    this.sort();
  }

  sort() {
    const { column, down } = this.sorting;
    const keys = new Float64Array(this.count);
    for (const i of this.order) keys[i] = this.columns[column].key(i);
    this.order.sort(down ? (a, b) => keys[b] - keys[a] || a - b : (a, b) => keys[a] - keys[b] || a - b);
    this.heads.forEach((head, i) => head.setAttribute("aria-sort", i === column ? (down ? "descending" : "ascending") : "none"));
    const n = this.order.length;
    this.told.textContent = n === this.count ? `${number(n)} connection${n === 1 ? "" : "s"}` : `${number(n)} of ${number(this.count)} connections`;
    this.table.setAttribute("aria-rowcount", n + 1);
    this.table.hidden = !n;
    this.none.hidden = n > 0;
    this.active = 0;
    this.scroller.scrollTop = 0;
    this.draw(true);
  }

  /** Put the rows in sight into the document. */
  draw(again = false, most = 0) {
    const n = this.order.length;
    const sight = Math.ceil(window.innerHeight / ROW); // the table is never higher than the window
    const top = Math.floor(this.scroller.scrollTop / ROW);
    const first = most ? 0 : Math.max(0, top - SPARE);
    const last = most ? Math.min(n, most) : Math.min(n, top + sight + SPARE);
    if (!again && first === this.first && last === this.last) return;
    [this.first, this.last] = [first, last];
    const focused = this.body.contains(document.activeElement);
    const drawn = [this.gap(first)];
    for (let at = first; at < last; at++) drawn.push(this.row(at));
    drawn.push(this.gap(most ? 0 : n - last));
    this.body.replaceChildren(...drawn);
    if (focused) (this.body.querySelector('[tabindex="0"]') || this.scroller).focus({ preventScroll: true });
  }

  gap(rows) {
    const cell = el("td", { colspan: this.columns.length });
    cell.style.height = `${rows * ROW}px`;
    return el("tr", { class: "gap", "aria-hidden": "true", hidden: !rows }, cell);
  }

  row(at) {
    const i = this.order[at];
    const cells = this.columns.map((column) => {
      const text = column.show(i);
      const kind = column.kind === "found" && this.worst[i] >= 0 ? `found ${meta.severities[this.worst[i]]}` : column.kind || "";
      return el("td", { class: column.number ? `number ${kind}` : kind, title: text.length > 22 || column.draw ? text : null }, column.draw ? column.draw(i) : text);
    });
    return el("tr", { "data-id": this.rows.id[i], "data-at": at, "aria-rowindex": at + 2, tabindex: at === this.active ? "0" : "-1" }, ...cells);
  }

  clicked(event) {
    const row = event.target.closest("tr[data-id]");
    if (!row || String(window.getSelection())) return;
    this.move(Number(row.dataset.at));
    this.open(Number(row.dataset.id));
  }

  pressed(event) {
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW) - 2);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -this.order.length, End: this.order.length };
    if (event.key === "Enter" || event.key === " ") this.open(this.rows.id[this.order[this.active]]);
    else if (event.key in steps) this.move(this.active + steps[event.key]);
    else return;
    event.preventDefault();
  }

  /** Make another row the one that keys act upon, and bring it into sight. */
  move(to) {
    this.active = Math.max(0, Math.min(this.order.length - 1, to));
    const head = this.heads[0].offsetHeight;
    const top = this.active * ROW;
    const room = this.scroller.clientHeight - head - ROW;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    else if (top > this.scroller.scrollTop + room) this.scroller.scrollTop = top - room;
    this.draw(true);
    this.body.querySelector('[tabindex="0"]')?.focus({ preventScroll: true });
  }

  /** The connection before or after this one, as the table stands. */
  beside(id, step) {
    const at = this.order.indexOf(this.places.get(id));
    const next = at < 0 ? undefined : this.order[at + step];
    return next === undefined ? null : this.rows.id[next];
  }

  /** Leave the keys at this connection, where the table shows it. */
  point(id) {
    const at = this.order.indexOf(this.places.get(id));
    if (at >= 0) this.move(at);
  }
}
