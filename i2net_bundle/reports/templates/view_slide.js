"use strict";
// A slide with the outlines of its mask, drawn by OpenSeadragon.

const dashes = ["none", "9 5", "2 4", "12 4 2 4", "5 5", "14 4"];
const svgNames = "http://www.w3.org/2000/svg";

class SlidePicture {
  open() {
    this.viewer = OpenSeadragon({
      element: byId("slide"),
      drawer: "canvas",
      showNavigationControl: false,
      showNavigator: true,
      navigatorPosition: "TOP_RIGHT",
      navigatorSizeRatio: 0.15,
      maxZoomPixelRatio: 8,
      visibilityRatio: 0.5,
      keyboardNavEnabled: false,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
      animationTime: 0.4,
    });
    byId("zoom-in").addEventListener("click", () => this.zoom(1.5));
    byId("zoom-out").addEventListener("click", () => this.zoom(1 / 1.5));
    byId("whole").addEventListener("click", () => this.viewer.viewport.goHome());
    for (const name of ["animation", "open", "resize"]) this.viewer.addHandler(name, () => this.drawBar());
  }

  async show(number) {
    this.found = facts.cases[number];
    const address = URL.createObjectURL(new Blob([bytesOf(number, "image")], { type: "image/webp" }));
    await new Promise((resolve, reject) => {
      this.viewer.addOnceHandler("tile-drawn", resolve);
      this.viewer.addOnceHandler("open-failed", () => reject(new Error("its picture cannot be decoded")));
      this.viewer.open({ type: "image", url: address, buildPyramid: true });
    });
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = address;
    const [rows, columns] = this.found.size;
    this.svg = this.outlines(rows, columns);
    const holder = document.createElement("div");
    holder.append(this.svg);
    this.viewer.clearOverlays();
    this.viewer.addOverlay({ element: holder, location: new OpenSeadragon.Rect(0, 0, 1, rows / columns) });
    this.redraw();
    this.drawBar();
    const um = this.found.um_per_px;
    byId("place").textContent = um ? `${um.toPrecision(3)} µm per pixel of the file` : "The file records no scale.";
  }

  outlines(rows, columns) {
    const svg = document.createElementNS(svgNames, "svg");
    svg.setAttribute("viewBox", `0 0 ${columns} ${rows}`);
    svg.setAttribute("preserveAspectRatio", "none");
    this.groups = new Map();
    for (const [index, path] of Object.entries(this.found.paths)) {
      const item = facts.classes.find((other) => other.index === Number(index));
      const group = document.createElementNS(svgNames, "g");
      for (const kind of ["halo", "line"]) {
        const line = document.createElementNS(svgNames, "path");
        line.setAttribute("class", kind);
        line.setAttribute("d", path);
        if (kind === "line") {
          line.setAttribute("stroke", item.color);
          line.setAttribute("fill", item.color);
          line.setAttribute("stroke-dasharray", dashes[(item.index - 1) % dashes.length]);
        }
        group.append(line);
      }
      this.groups.set(item.index, group);
      svg.append(group);
    }
    return svg;
  }

  hasClass(index) {
    return this.groups.has(index);
  }

  redraw() {
    if (!this.svg) return;
    this.svg.setAttribute("class", state.outlines ? "" : "faint");
    for (const [index, group] of this.groups) {
      group.setAttribute("visibility", state.visible.has(index) ? "visible" : "hidden");
      group.querySelector(".line").setAttribute("fill-opacity", String(state.opacity));
    }
  }

  zoom(factor) {
    this.viewer.viewport.zoomBy(factor);
    this.viewer.viewport.applyConstraints();
  }

  key(event) {
    const moves = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };
    if (event.key in moves) {
      const [x, y] = moves[event.key].map((part) => 60 * part);
      this.viewer.viewport.panBy(this.viewer.viewport.deltaPointsFromPixels(new OpenSeadragon.Point(x, y)));
      this.viewer.viewport.applyConstraints();
    } else if (event.key === "+" || event.key === "=") this.zoom(1.25);
    else if (event.key === "-") this.zoom(1 / 1.25);
    else if (event.key === "v") this.viewer.viewport.goHome();
    else return false;
    return true;
  }

  drawBar() {
    if (!this.found || !this.viewer.isOpen()) return;
    const shown = this.viewer.viewport.deltaPixelsFromPoints(new OpenSeadragon.Point(1, 0), true).x / this.found.size[1];
    const pxPerUnit = this.found.um_per_px ? shown / (this.found.um_per_px * this.found.px_per_px) : shown / this.found.px_per_px;
    const length = roundLength(0.25 * byId("stage").clientWidth / pxPerUnit);
    byId("bar").style.width = `${length * pxPerUnit}px`;
    const [amount, unit] = !this.found.um_per_px ? [length, "pixels"] : length < 1000 ? [length, "µm"] : [length / 1000, "mm"];
    byId("bar").textContent = `${amount} ${unit}`;
  }
}

start(async () => {
  const picture = new SlidePicture();
  picture.open();
  return picture;
});
