"use strict";
(() => {
  const get = (id) => document.getElementById(id);
  const table = document.querySelector("table.sources");
  const body = table.tBodies[0];
  const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
  const rows = Array.from(body.rows, (row, place) => ({
    row,
    place,
    text: `${row.textContent} ${row.dataset.words ?? ""}`.toLowerCase(),
    snr: row.dataset.snr === undefined ? NaN : Number(row.dataset.snr),
    link: row.querySelector("a.picture"),
  }));
  let shown = rows;

  // ---- sort
  const columns = Array.from(table.tHead.querySelectorAll("th[data-sort]"), (head) => {
    const values = rows.map(({ row }) => row.cells[head.dataset.index].dataset.value || null);
    const numbers = values.every((value) => value === null || isFinite(value));
    return {
      head,
      first: head.dataset.sort,
      values: numbers ? values.map((value) => (value === null ? null : Number(value))) : values,
      compare: numbers ? (a, b) => a - b : collator.compare,
    };
  });

  function mark(column, direction) {
    for (const other of columns) other.head.removeAttribute("aria-sort");
    column.head.setAttribute("aria-sort", direction);
    get("order").value = column.head.dataset.index;
  }

  function sort(column, direction) {
    const sign = direction === "descending" ? -1 : 1;
    rows.sort((a, b) => {
      const [x, y] = [column.values[a.place], column.values[b.place]];
      if (x === null || y === null) return (x === null) - (y === null) || a.place - b.place;
      return sign * column.compare(x, y) || a.place - b.place;
    });
    mark(column, direction);
    body.append(...rows.map(({ row }) => row));
    filter();
  }

  function turned(column) {
    const now = column.head.getAttribute("aria-sort");
    if (!now) return column.first;
    return now === "ascending" ? "descending" : "ascending";
  }

  for (const column of columns) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...column.head.childNodes);
    button.addEventListener("click", () => sort(column, turned(column)));
    column.head.append(button);
    get("order").append(new Option(column.head.dataset.name, column.head.dataset.index));
  }
  mark(columns[0], "ascending"); // as they were written
  const chosen = () => columns.find(({ head }) => head.dataset.index === get("order").value);
  get("order").addEventListener("change", () => sort(chosen(), chosen().first));
  get("turn").addEventListener("click", () => sort(chosen(), turned(chosen())));

  // ---- filter
  function filter() {
    const words = get("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const least = get("snr").value === "" ? -Infinity : Number(get("snr").value);
    const marked = get("marked").checked;
    for (const { row, text, snr } of rows) {
      row.hidden =
        !words.every((word) => text.includes(word)) ||
        (least > -Infinity && !(snr >= least)) ||
        (marked && row.className === "fine");
    }
    shown = rows.filter(({ row }) => !row.hidden);
    get("found").value =
      shown.length === rows.length ? "" : `${shown.length} of ${rows.length} sources`;
  }

  for (const id of ["find", "snr", "marked"]) get(id).addEventListener("input", filter);
  document.querySelector(".controls").addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", () => {
    const row = document.querySelector("tr:target");
    if (!row || !row.hidden) return;
    document.querySelector(".controls").reset();
    filter();
    row.scrollIntoView();
  });

  // ---- rows as cards
  get("gallery").addEventListener("click", () => {
    const cards = get("cards");
    const on = cards.media === "all";
    cards.media = on ? cards.dataset.media : "all";
    table.classList.toggle("gallery", !on);
    get("gallery").setAttribute("aria-pressed", String(!on));
    for (const { link } of rows) enlarge(link?.querySelector("img"), link?.href, !on);
  });
  get("cards").dataset.media = get("cards").media;

  function enlarge(image, large, on) {
    if (!image) return;
    image.dataset.small ??= image.src;
    image.loading = "lazy";
    image.src = on ? large : image.dataset.small;
    image.onerror = () => {
      image.onerror = null;
      image.src = image.dataset.small;
    };
  }

  // ---- large pictures
  const viewer = get("viewer");
  const large = get("large");
  let now = null;

  const pictures = () => shown.filter(({ link }) => link);

  function fit(on) {
    large.classList.toggle("full", !on);
    get("full").setAttribute("aria-pressed", String(!on));
  }

  function show(entry) {
    const list = pictures();
    const place = list.indexOf(entry);
    now = entry;
    fit(true);
    large.hidden = false;
    get("failed").hidden = true;
    large.src = entry.link.href;
    large.alt = entry.link.querySelector("img")?.alt ?? entry.row.dataset.title;
    const name = entry.row.querySelector(".name");
    get("viewed").textContent = entry.row.dataset.title + (name ? ` · ${name.textContent}` : "");
    get("count").textContent = `${place + 1} of ${list.length}`;
    get("file").href = entry.link.href;
    get("previous").disabled = get("next").disabled = list.length < 2;
    if (!viewer.open) viewer.showModal();
    if (list.length > 1) new Image().src = list[(place + 1) % list.length].link.href;
  }

  function move(by) {
    const list = pictures();
    show(list[(list.indexOf(now) + by + list.length) % list.length]);
  }

  body.addEventListener("click", (event) => {
    const link = event.target.closest("a.picture");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    show(rows.find((entry) => entry.link === link));
  });
  get("previous").addEventListener("click", () => move(-1));
  get("next").addEventListener("click", () => move(1));
  get("close").addEventListener("click", () => viewer.close());
  for (const element of [large, get("full")]) {
    element.addEventListener("click", () => fit(large.classList.contains("full")));
  }
  large.addEventListener("error", () => {
    large.hidden = true;
    get("failed").hidden = false;
    get("failed").textContent = `This picture is not beside the page: ${get("file").getAttribute("href")}`;
  });
  viewer.addEventListener("keydown", (event) => {
    if (large.classList.contains("full") && event.target.matches(".frame")) return; // it scrolls
    if (event.key === "ArrowRight") move(1);
    else if (event.key === "ArrowLeft") move(-1);
    else return;
    event.preventDefault();
  });
  viewer.addEventListener("close", () => now.link.focus());

  document.querySelector(".controls").hidden = false;
  filter();
})();
