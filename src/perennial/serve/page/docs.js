// The form of an endpoint: its fields as a JSON request, the answer as text. Nothing from the service is ever markup.
"use strict";
(() => {
  const form = document.getElementById("ask");
  if (!form) return;
  const controls = [...form.querySelectorAll("[data-name]")];
  const answer = document.getElementById("answer");
  const curl = document.getElementById("curl");
  const examples = JSON.parse(form.dataset.examples);
  const address = new URL(form.getAttribute("action"), location.href).href;

  const element = (name, text = "", kind = "") => {
    const made = document.createElement(name);
    if (text !== "") made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };

  const wrong = (control, says) => {
    control.closest(".field").querySelector(".wrong").textContent = says;
    control.setAttribute("aria-invalid", says ? "true" : "false");
  };

  // Numbers stay as they are written: a whole number of 64 bits does not survive a number of JavaScript.
  const number = (text, whole) => {
    const shape = whole ? /^[+-]?\d+$/ : /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/;
    if (!shape.test(text)) return null;
    return whole ? text.replace(/^\+/, "").replace(/^(-?)0+(?=\d)/, "$1") : String(Number(text));
  };

  // The value of a field as JSON text; undefined where it is left out.
  const written = (control) => {
    const kind = control.dataset.type;
    const text = control.value;
    if (text.trim() === "" && (control.dataset.needed === "0" || kind !== "string")) {
      if (control.dataset.needed === "0") return control.dataset.optional === "1" ? undefined : "null";
      throw new Error("a value is needed");
    }
    if (kind === "float64" || kind === "int64") {
      const found = number(text.trim(), kind === "int64");
      if (found === null) throw new Error(kind === "int64" ? "a whole number is needed" : "a number is needed");
      return found;
    }
    if (kind === "bool") return text;
    if (kind === "tensor") {
      try {
        return JSON.stringify(JSON.parse(text));
      } catch {
        throw new Error("lists of numbers are needed, as [[0, 1], [2, 3]]");
      }
    }
    return JSON.stringify(text);
  };

  const request = () => {
    const pairs = [];
    let fine = true;
    for (const control of controls) {
      try {
        const text = written(control);
        if (text !== undefined) pairs.push(`${JSON.stringify(control.dataset.name)}: ${text}`);
        wrong(control, "");
      } catch (error) {
        wrong(control, error.message);
        fine = false;
      }
    }
    return fine ? `{"records": [{${pairs.join(", ")}}]}` : null;
  };

  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

  const show = () => {
    const body = request();
    if (body !== null) curl.textContent = `curl ${quoted(address)} \\\n  -H 'content-type: application/json' \\\n  -d ${quoted(body)}`;
    return body;
  };

  const plain = (value) =>
    typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(8))) : String(value);

  const probabilities = (table) => {
    const made = element("table");
    const body = made.createTBody();
    const sorted = Object.entries(table).sort((one, other) => other[1] - one[1]);
    for (const [label, share] of sorted.slice(0, 20)) {
      const row = body.insertRow();
      const name = row.appendChild(element("th", label));
      name.scope = "row";
      const bar = element("progress");
      bar.max = 1;
      bar.value = share;
      bar.setAttribute("aria-label", `probability of ${label}`);
      const wide = row.insertCell();
      wide.className = "bar";
      wide.append(bar);
      const cell = row.insertCell();
      cell.className = "number";
      cell.textContent = share.toFixed(4);
    }
    return made;
  };

  const tell = (found, raw, seconds) => {
    answer.replaceChildren();
    const value = found.prediction === null ? "no answer" : plain(found.prediction);
    answer.append(element("p", value, "value"));
    if (found.interval) answer.append(element("p", `between ${plain(found.interval[0])} and ${plain(found.interval[1])}`));
    if (found.set) answer.append(element("p", `one of ${found.set.join(", ")}`));
    if (found.error) answer.append(element("p", found.error, "problem"));
    for (const flag of found.flags ?? []) {
      const of = flag.column ? ` on ${flag.column}` : "";
      answer.append(element("p", `${flag.guard}${of}: ${flag.action}${flag.says ? ` (${flag.says})` : ""}`, "flag"));
    }
    if (found.probabilities) answer.append(probabilities(found.probabilities));
    answer.append(element("p", `version ${found.version}, ${found.arm} · ${(seconds * 1000).toFixed(1)} ms · ${found.id}`, "quiet"));
    const details = element("details");
    details.append(element("summary", "JSON"), element("pre", raw));
    answer.append(details);
  };

  const refuse = (status, told) => {
    answer.replaceChildren(element("p", `${status} ${told.error_code ?? ""}\n${told.message ?? ""}`, "problem"));
    const name = /^records\[0\]\.(.*?)(\[\d+\])*$/s.exec(told.where ?? "")?.[1];
    const control = controls.find((one) => one.dataset.name === name);
    if (control) {
      wrong(control, String(told.message).split("\n")[0]);
      control.focus();
    }
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = show();
    if (body === null) {
      controls.find((one) => one.getAttribute("aria-invalid") === "true")?.focus();
      return;
    }
    const began = performance.now();
    try {
      const reply = await fetch(address, { method: "POST", headers: { "content-type": "application/json" }, body });
      const text = await reply.text();
      const seconds = (performance.now() - began) / 1000;
      const told = JSON.parse(text);
      if (reply.ok) tell(told.predictions[0], JSON.stringify(told, null, 2), seconds);
      else refuse(reply.status, told);
    } catch (error) {
      answer.replaceChildren(element("p", `The service did not answer: ${error.message}`, "problem"));
    }
  });

  document.getElementById("example")?.addEventListener("change", (event) => {
    const row = examples[Number(event.target.value)];
    for (const control of controls) {
      const value = row[control.dataset.name];
      control.value = value === undefined || value === null ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
    }
    show();
  });

  const copy = document.getElementById("copy");
  if (navigator.clipboard) {
    copy.hidden = false;
    copy.addEventListener("click", async () => {
      await navigator.clipboard.writeText(curl.textContent);
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    });
  }
  form.addEventListener("input", show);
  show();
})();
