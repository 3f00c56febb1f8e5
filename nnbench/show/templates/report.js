// Draw the charts, and sort tables by the heading that is selected.
const config = JSON.parse(document.getElementById("config").textContent);
const options = {
  config,
  renderer: "svg", // its text and lines take the page's colour, by day, by night and on paper
  ast: true, // expressions are interpreted: the page's policy forbids to compile them
  actions: { export: true, source: false, compiled: false, editor: false },
  tooltip: { disableDefaultStyle: true },
};

const drawn = [...document.querySelectorAll("figure")].map((figure) => {
  const spec = JSON.parse(figure.querySelector("script").textContent);
  return vegaEmbed(figure.querySelector(".chart"), spec, { ...options, downloadFileName: figure.dataset.name });
});
Promise.all(drawn).then(
  () => (document.body.dataset.charts = "drawn"),
  (error) => {
    document.body.dataset.charts = "failed";
    console.error(error);
  },
);

// A cell is worth its first number; a text has none, and dashes come last in both directions.
function worth(text) {
  const found = /^[~×\s]*([-+]?[\d,]*\.?\d+(?:e[-+]?\d+)?)/i.exec(text);
  return found ? Number(found[1].replaceAll(",", "")) : NaN;
}

function compare(a, b, numeric) {
  return numeric ? worth(a) - worth(b) : a.localeCompare(b, "en", { numeric: true });
}

function sort(heading) {
  const body = heading.closest("table").tBodies[0];
  const column = heading.cellIndex;
  const text = (row) => row.cells[column].textContent.trim();
  const [dashes, rows] = [true, false].map((dash) => [...body.rows].filter((row) => (text(row) === "–") === dash));
  const numeric = column > 0 && rows.every((row) => !Number.isNaN(worth(text(row))));
  const direction = heading.ariaSort === "ascending" ? -1 : 1;
  rows.sort((a, b) => direction * compare(text(a), text(b), numeric));
  for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  body.append(...rows, ...dashes);
}

for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => sort(button.parentElement));
}

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not(.vega-embed *)")) details.open = true;
});
