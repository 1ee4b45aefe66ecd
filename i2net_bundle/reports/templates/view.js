"use strict";
// What both kinds of page share: choice of the case, decoding of its data, classes, opacity, keys.

const facts = JSON.parse(document.getElementById("facts").textContent);
const byId = (id) => document.getElementById(id);
const state = { number: 0, opacity: 0, outlines: false, visible: new Set(facts.classes.map((item) => item.index)) };
let picture = null; // what draws: an object with show(number), redraw(), key(event), hasClass(index)

function bytesOf(number, name) {
  const text = atob(byId(`data-${number}-${name}`).textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function unzipped(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

function rgbOf(color) {
  return [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
}

function roundLength(longest) {
  // the longest of 1, 2 and 5 times a power of ten that is not longer
  const power = 10 ** Math.floor(Math.log10(longest));
  return [5, 2, 1].map((times) => times * power).find((length) => length <= longest) || power;
}

function fallBack(message) {
  byId("viewer").hidden = true;
  byId("fallback").textContent = message;
  byId("fallback").hidden = !message;
  for (const details of document.querySelectorAll("details.static")) details.open = true;
}

async function showCase(number) {
  state.number = number;
  byId("case").value = String(number);
  byId("previous").disabled = number === 0;
  byId("next").disabled = number === facts.cases.length - 1;
  for (const part of document.querySelectorAll("[data-case]")) part.hidden = part.dataset.case !== String(number);
  byId("viewer").removeAttribute("data-ready");
  if (!byId(`data-${number}-image`)) return fallBack(""); // the notes of the case say why
  if (!picture) return undefined;
  byId("viewer").hidden = false;
  byId("fallback").hidden = true;
  for (const details of document.querySelectorAll("details.static")) details.open = false;
  try {
    await picture.show(number);
  } catch (error) {
    return fallBack(`The viewer could not draw this image (${error.message}), so only its static picture is shown.`);
  }
  if (state.number !== number) return undefined; // another case was chosen meanwhile
  for (const item of document.querySelectorAll("#classes li")) {
    item.classList.toggle("absent", !picture.hasClass(Number(item.dataset.class)));
  }
  byId("viewer").setAttribute("data-ready", String(number));
  return undefined;
}

function setVisible(indices) {
  state.visible = new Set(indices);
  for (const item of document.querySelectorAll("#classes li")) {
    item.querySelector("input").checked = state.visible.has(Number(item.dataset.class));
  }
  picture.redraw();
}

function toggleClass(index) {
  const visible = new Set(state.visible);
  if (!visible.delete(index)) visible.add(index);
  setVisible(visible);
}

function setOpacity(percent) {
  state.opacity = Math.min(100, Math.max(0, percent)) / 100;
  byId("opacity").value = String(Math.round(100 * state.opacity));
  picture.redraw();
}

function setOutlines(on) {
  state.outlines = on;
  byId("outlines").checked = on;
  picture.redraw();
}

function step(by) {
  const number = state.number + by;
  if (number >= 0 && number < facts.cases.length) showCase(number);
}

function keyAnywhere(event) {
  const every = facts.classes.map((item) => item.index);
  if (/^[1-9]$/.test(event.key) && Number(event.key) <= every.length) toggleClass(every[Number(event.key) - 1]);
  else if (event.key === "0") setVisible(state.visible.size ? [] : every);
  else if (event.key === ",") setOpacity(100 * state.opacity - 10);
  else if (event.key === ".") setOpacity(100 * state.opacity + 10);
  else if (event.key === "o") setOutlines(!state.outlines);
  else if (event.key === "n") step(1);
  else if (event.key === "p") step(-1);
  else return picture.key(event);
  return true;
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || byId("viewer").hidden) return;
  if (event.target.matches("select, input[type=range], summary") && !/^[0-9,.]$/.test(event.key)) return;
  const onStage = byId("stage").contains(event.target);
  if (!onStage && event.key.length > 1) return; // arrows belong to the page while the picture has no focus
  if (keyAnywhere(event)) {
    event.preventDefault();
    event.stopPropagation();
  }
}

function connectControls() {
  const every = facts.classes.map((item) => item.index);
  byId("opacity").addEventListener("input", (event) => setOpacity(Number(event.target.value)));
  byId("outlines").addEventListener("change", (event) => setOutlines(event.target.checked));
  byId("every").addEventListener("click", () => setVisible(every));
  byId("none").addEventListener("click", () => setVisible([]));
  for (const item of document.querySelectorAll("#classes li")) {
    const index = Number(item.dataset.class);
    item.querySelector("input").addEventListener("change", () => toggleClass(index));
    item.querySelector("button").addEventListener("click", () => setVisible([index]));
  }
  document.addEventListener("keydown", onKey, true);
}

async function start(create) {
  if (!facts.cases.length) return;
  byId("chooser").hidden = facts.cases.length < 2;
  byId("case").addEventListener("change", (event) => showCase(Number(event.target.value)));
  byId("previous").addEventListener("click", () => step(-1));
  byId("next").addEventListener("click", () => step(1));
  state.opacity = Number(byId("opacity").value) / 100;
  state.outlines = byId("outlines").checked;
  byId("viewer").hidden = false; // a hidden canvas has no size
  try {
    picture = await create();
    connectControls();
  } catch (error) {
    fallBack(error.message);
  }
  await showCase(0);
}
