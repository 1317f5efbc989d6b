// --- graphs ---------------------------------------------------------------------------------------------------------
const graphs = new Set(); // those on the page, to be drawn anew when light turns dark

/** The value that a colour of the style sheet has now. */
function colour(name) {
  const probe = document.body.appendChild(el("i"));
  probe.style.color = name.includes("(") ? name : `var(--${name})`;
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

const short = (n) => {
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]]) if (Math.abs(n) >= size) return `${+(n / size).toPrecision(4)} ${unit}`;
  return `${+n.toPrecision(4)}`;
};
const swatch = (value) => {
  const made = el("span", { class: "swatch" });
  made.style.background = value;
  return made;
};

/** One graph: a uPlot that follows its place's width and the page's colours. `make` gives its options and data. */
class Graph {
  constructor(place, height, make) {
    Object.assign(this, { place, height, make });
    this.watch = new ResizeObserver(() => {
      if (this.plot && this.place.clientWidth && this.place.clientWidth !== this.plot.width) this.plot.setSize({ width: this.place.clientWidth, height: this.height });
    });
    this.draw();
    this.watch.observe(place);
    graphs.add(this);
  }

  draw() {
    this.plot?.destroy();
    const { options, data } = this.make();
    const axis = { stroke: colour("quiet"), font: "11px system-ui, sans-serif", grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line"), width: 1 } };
    const [x, y] = options.axes || [{}, {}];
    this.plot = new uPlot({
      width: this.place.clientWidth || 600, height: this.height, legend: { show: false }, padding: [8, 10, 0, 0],
      ...options,
      scales: { x: { time: false, ...options.scales?.x }, y: { ...options.scales?.y } },
      cursor: { points: { show: false }, drag: { x: true, y: false }, ...options.cursor },
      axes: [
        { ...axis, size: 30, gap: 4, values: (_, splits) => splits.map((s) => `${+s.toPrecision(9)} s`), ...x },
        { ...axis, size: 68, gap: 4, values: (_, splits) => splits.map(short), ...y },
      ],
    }, data, this.place);
  }

  remove() {
    this.watch.disconnect();
    this.plot.destroy();
    graphs.delete(this);
  }
}

const redraw = () => graphs.forEach((graph) => graph.draw());
const seconds = (times) => times.map((ns) => ns / 1e9);

/** The last place in ascending values that is not above this one; -1 for none. */
function before(values, value) {
  let [low, high] = [0, values.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

/** Stacked counts of endpoints by state, of all hosts or of one. */
function occupancyGraph(place, occupancy) {
  let of = occupancy.hosts[0];
  const canvas = el("div", { class: "canvas", role: "img" });
  const key = el("ul", { class: "key" });
  const table = el("details", { class: "as-table" });
  const when = el("span", { class: "readout" });
  const show = (at) => {
    const time = of.times[at];
    when.textContent = time === undefined ? "" : `at ${(time / 1e9).toFixed(3)} s`;
    key.replaceChildren(...of.states.map((state, i) => el("li", {}, swatch(meta.colours[state]), `${state} `, el("b", {}, time === undefined ? `up to ${number(Math.max(...of.counts[i]))}` : number(of.counts[i][at])))));
  };
  const fill = () => {
    const most = of.states.map((state, i) => `${state} up to ${number(Math.max(...of.counts[i]))}`);
    canvas.setAttribute("aria-label", `Endpoints in each state over ${duration(meta.span)}, stacked: ${most.join(", ") || "none"}.`);
    const step = Math.max(1, Math.ceil(of.times.length / 16));
    const shown = of.times.map((_, i) => i).filter((i) => i % step === 0);
    table.replaceChildren(el("summary", {}, "as a table"), el("table", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "time"), ...of.states.map((state) => el("th", { scope: "col" }, state)))),
      el("tbody", {}, ...shown.map((at) => el("tr", {}, el("th", { scope: "row" }, `${(of.times[at] / 1e9).toFixed(3)} s`), ...of.counts.map((counts) => el("td", {}, number(counts[at]))))))));
    show();
  };
  const host = el("select", { "aria-label": "Host", onchange: () => { of = occupancy.hosts[Number(host.value)]; fill(); graph.draw(); } },
    ...occupancy.hosts.map((one, i) => el("option", { value: i }, one.host === null ? "all hosts" : one.host)));
  place.replaceChildren(el("figure", { class: "graph" }, el("figcaption", { class: "controls" }, host, when,
    occupancy.every ? el("span", { class: "quiet" }, `counted every ${duration(occupancy.every)}`) : ""), canvas, key, table));
  fill();
  const graph = new Graph(canvas, 260, () => {
    // The sums of the states up to each one; the largest is drawn first, the others over it.
    const sums = [];
    of.counts.forEach((counts, i) => sums.push(counts.map((n, at) => n + (i ? sums[i - 1][at] : 0))));
    const stepped = uPlot.paths.stepped({ align: 1 });
    return {
      data: [seconds(of.times), ...sums.reverse()],
      options: {
        series: [{}, ...of.states.map((state) => ({ label: state, stroke: "transparent", width: 0, fill: colour(meta.colours[state]), paths: stepped, points: { show: false } })).reverse()],
        scales: { y: { range: (_, __, max) => [0, Math.max(1, max) * 1.05] } },
        axes: [{}, { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6] }],
        hooks: { setCursor: [(u) => show(u.cursor.left >= 0 ? Math.max(0, before(of.times, u.posToVal(u.cursor.left, "x") * 1e9)) : undefined)] },
      },
    };
  });
}

const KINDS = [["data", "data"], ["again", "sent again"], ["reorder", "out of order"], ["probe", "probe"]];

/** What tcptrace's time-sequence graph shows: data, ACKs, window, what was sent again, SACK. */
function sequenceGraph(place, ways, sync) {
  const sent = (way) => way.data[3].reduce((most, end) => Math.max(most, end), 0);
  let way = sent(ways[1]) > sent(ways[0]) ? ways[1] : ways[0];
  const canvas = el("div", { class: "canvas", role: "img" });
  const key = el("ul", { class: "key" });
  const readout = el("div", { class: "readout" });
  const buttons = ways.map((one) => el("button", { type: "button", onclick: () => { way = one; fill(); graph.draw(); } }, `from the ${one.side}`));
  const fill = () => {
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(ways[i] === way)));
    const counts = KINDS.map((_, kind) => way.data[4].filter((k) => k === kind).length);
    const items = KINDS.map(([name, text], i) => [name, text, i ? counts[i] : 1]);
    items.push(["ack", "ACK", way.ack[0].length], ["edge", "edge of the window", way.edge[0].length], ["sack", "SACK", way.sack[0].length], ["ack", "duplicate ACK –", way.duplicate_acks[0].length], ["zero", "window 0 ■", way.zero_windows[0].length], ["again", "RST ×", way.resets[0].length]);
    key.replaceChildren(...items.filter((item) => item[2]).map(([name, text]) => {
      const mark = el("span", { class: "swatch" });
      mark.style.setProperty("--swatch", `var(--${name})`);
      return el("li", {}, mark, text);
    }));
    canvas.setAttribute("aria-label", `Time-sequence graph of what the ${way.side} sent: ${bytes(sent(way))} in ${number(way.data[0].length)} segments or runs of segments, ${number(counts[1])} sent again, ${number(counts[2])} out of order, ${number(way.sack[0].length)} SACK blocks.`);
  };
  place.append(el("figure", { class: "graph" }, el("h4", {}, "Time and sequence", ...buttons), canvas, key, readout));
  fill();

  const paint = (u) => {
    const { ctx } = u;
    const px = devicePixelRatio;
    const x = (ns) => u.valToPos(ns / 1e9, "x", true);
    const y = (value) => u.valToPos(value, "y", true);
    ctx.save();
    ctx.beginPath();
    ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
    ctx.clip();
    const stairs = ([times, values], name) => {
      if (!times.length) return;
      ctx.beginPath();
      times.forEach((time, i) => {
        if (i) ctx.lineTo(x(time), y(values[i - 1]));
        else ctx.moveTo(x(time), y(values[i]));
        ctx.lineTo(x(time), y(values[i]));
      });
      ctx.strokeStyle = colour(name);
      ctx.lineWidth = px;
      ctx.stroke();
    };
    stairs(way.edge, "edge");
    stairs(way.ack, "ack");
    const [times, lasts, begins, ends, kinds] = way.data;
    KINDS.forEach(([name], kind) => {
      ctx.beginPath();
      for (let i = 0; i < times.length; i++) {
        if (kinds[i] !== kind) continue;
        const [low, high] = [y(begins[i]), y(ends[i])];
        ctx.moveTo(x(times[i]), Math.max(low, high + 2 * px)); // what is short is still seen
        ctx.lineTo(x(lasts[i]), high);
      }
      ctx.strokeStyle = colour(name);
      ctx.lineWidth = (kind ? 2.5 : 2) * px;
      ctx.stroke();
    });
    ctx.strokeStyle = colour("sack");
    ctx.lineWidth = 1.5 * px;
    ctx.beginPath();
    way.sack[0].forEach((time, i) => {
      ctx.moveTo(x(time), y(way.sack[1][i]));
      ctx.lineTo(x(time), y(way.sack[2][i]));
    });
    ctx.stroke();
    const marks = ([at, values], name, path) => {
      ctx.strokeStyle = ctx.fillStyle = colour(name);
      ctx.lineWidth = 1.5 * px;
      at.forEach((time, i) => path(x(time), y(values[i])));
    };
    marks(way.duplicate_acks, "ack", (a, b) => ctx.fillRect(a - 3 * px, b - px / 2, 6 * px, 1.5 * px));
    marks(way.zero_windows, "zero", (a, b) => ctx.fillRect(a - 3 * px, b - 3 * px, 6 * px, 6 * px));
    marks(way.resets, "again", (a, b) => {
      ctx.beginPath();
      for (const slope of [1, -1]) {
        ctx.moveTo(a - 4 * px, b - 4 * slope * px);
        ctx.lineTo(a + 4 * px, b + 4 * slope * px);
      }
      ctx.stroke();
    });
    ctx.restore();
  };

  /** What is in sight decides how high the graph reaches; the window's edge may leave the graph. */
  const range = (u) => {
    const [from, to] = [u.scales.x.min ?? -Infinity, u.scales.x.max ?? Infinity].map((s) => s * 1e9);
    const [times, lasts, begins, ends] = way.data;
    let [low, high] = [Infinity, -Infinity];
    for (let i = 0; i < times.length; i++) {
      if (lasts[i] < from || times[i] > to) continue;
      low = Math.min(low, begins[i]);
      high = Math.max(high, ends[i]);
    }
    const ack = way.ack[1][Math.max(0, before(way.ack[0], from))];
    if (ack !== undefined) [low, high] = [Math.min(low, ack), Math.max(high, ack)];
    if (low > high) return [0, 1];
    const room = Math.max(high - low, 100);
    const edges = way.edge[1].filter((_, i) => way.edge[0][i] >= from && way.edge[0][i] <= to);
    const edge = edges.reduce((most, value) => Math.max(most, value), high);
    return [low - room * 0.04, Math.min(edge, high + room * 0.4) + room * 0.06];
  };
  const extent = span(ways);
  const graph = new Graph(canvas, 330, () => ({
    data: [extent, [0, 0]],
    options: {
      series: [{}, { show: true, stroke: "transparent", points: { show: false }, paths: () => null }],
      scales: { y: { auto: false, range: (_, low, high) => [low ?? 0, high ?? 1] } },
      cursor: { sync: { key: sync, scales: ["x", null] } },
      hooks: {
        draw: [paint],
        setScale: [(u, key) => {
          if (key !== "x") return;
          queueMicrotask(() => { // while it sets one scale, uPlot takes no other
            const [min, max] = range(u);
            u.setScale("y", { min, max });
          });
        }],
        setCursor: [(u) => {
          const at = u.cursor.left >= 0 ? before(way.data[0], u.posToVal(u.cursor.left, "x") * 1e9) : -1;
          const [times, , begins, ends, kinds] = way.data;
          readout.textContent = at < 0 ? "" : `${(times[at] / 1e9).toFixed(6)} s: bytes ${number(begins[at])} to ${number(ends[at])} (${number(ends[at] - begins[at])}), ${kinds[at] ? KINDS[kinds[at]][1] : "new"}`;
        }],
      },
    },
  }));
  return graph;
}

/** First and last moment of a connection, seconds; a little apart where it has but one. */
function span(ways) {
  const times = ways.flatMap((way) => [way.data[0][0], way.data[1].at(-1), way.ack[0][0], way.ack[0].at(-1), way.resets[0].at(-1)]).filter((time) => time !== undefined);
  const [from, to] = [Math.min(...times), Math.max(...times)];
  const edge = Math.max((to - from) * 0.02, 1000);
  return Number.isFinite(from) ? [(from - edge) / 1e9, (to + edge) / 1e9] : [0, 1];
}

/** Values of both directions over time. */
function bothGraph(place, title, text, ways, values, sync, drawn) {
  const lines = ways.map((way) => ({ side: way.side, ...values(way) })).filter((line) => line.y.some((y) => y > 0));
  if (!lines.length) return null;
    const canvas = el("div", { class: "canvas", role: "img", "aria-label": `${title}: ${lines.map((line) => text(line)).join("; ")}.` });
  const key = el("ul", { class: "key" }, ...lines.map((line) => {
    const mark = el("span", { class: "swatch" });
    mark.style.setProperty("--swatch", `var(--${line.side})`);
    return el("li", {}, mark, text(line));
  }));
  place.append(el("figure", { class: "graph" }, el("h4", {}, title), canvas, key));
  const joined = uPlot.join([[span(ways), [null, null]], ...lines.map((line) => [line.x, line.y])]);
  return new Graph(canvas, 170, () => ({
    data: joined,
    options: {
      series: [{}, { points: { show: false } }, ...lines.map((line) => ({ ...drawn(colour(line.side)) }))],
      scales: { y: { range: (_, __, max) => [0, (max || 1) * 1.08] } },
      cursor: { sync: { key: sync, scales: ["x", null] } },
      axes: [{}, { values: (_, splits) => splits.map(lines[0].unit) }],
    },
  }));
}

function rttGraph(place, ways, sync) {
  const unit = (ns) => (ns ? duration(ns) : "0");
  return bothGraph(place, "Round trips, at the capture point", (line) => `the ${line.side}'s data, ${number(line.y.length)} measured, ${duration(Math.min(...line.y))} to ${duration(Math.max(...line.y))}`, ways,
    (way) => ({ x: seconds(way.rtt[0]), y: way.rtt[1], unit }), sync,
    (stroke) => ({ stroke, paths: () => null, points: { show: true, size: 4, width: 0, fill: stroke } }));
}

function throughputGraph(place, ways, sync) {
  const unit = (rate) => `${short(rate)}B/s`;
  return bothGraph(place, "Throughput", (line) => `from the ${line.side}, up to ${short(Math.max(...line.y))}B/s in ${duration(line.bin)}`, ways,
    (way) => ({ x: seconds(way.throughput[0]), y: way.throughput[1].map((n) => n / (way.throughput[2] / 1e9)), unit, bin: way.throughput[2] }), sync,
    (stroke) => ({ stroke, width: 1.3, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false }, spanGaps: true }));
}
