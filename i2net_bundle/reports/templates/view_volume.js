"use strict";
// Slices and surface of a volume, drawn by NiiVue.

const views = ["all", "axial", "coronal", "sagittal", "3D"];
const sliceTypes = { axial: 0, coronal: 1, sagittal: 2 };
const quarters = [
  { sliceType: sliceTypes.axial, position: [0, 0, 0.5, 0.5] },
  { sliceType: sliceTypes.sagittal, position: [0.5, 0, 0.5, 0.5] },
  { sliceType: sliceTypes.coronal, position: [0, 0.5, 0.5, 0.5] },
];

class VolumePicture {
  async open() {
    const shared = { backColor: [0, 0, 0, 1], dragAndDropEnabled: false, logLevel: "error", loadingText: "" };
    const hotKeys = { viewModeHotKey: "", clipPlaneHotKey: "", cycleClipPlaneHotKey: "" };
    this.slices = new niivue.Niivue({
      ...shared,
      ...hotKeys,
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      showAllOrientationMarkers: true,
      fontColor: [1, 1, 1, 1],
      crosshairColor: [1, 1, 1, 0.7],
      crosshairWidth: 0.3,
      crosshairWidthUnit: "percent",
      crosshairGap: 8,
      isNearestInterpolation: false,
      multiplanarForceRender: false,
    });
    await this.slices.attachToCanvas(byId("slices"));
    this.surface = new niivue.Niivue({ ...shared, ...hotKeys, isOrientCube: true, show3Dcrosshair: false });
    await this.surface.attachToCanvas(byId("surface"));
    this.surface.setSliceType(4);
    this.slices.onLocationChange = (location) => this.describe(location);
    const draw = this.slices.drawSceneCore.bind(this.slices);
    this.slices.drawSceneCore = () => {
      const text = draw();
      this.drawBars();
      return text;
    };
    for (const button of document.querySelectorAll("[data-view]")) {
      button.addEventListener("click", () => this.setView(button.dataset.view));
    }
    this.setView("all");
  }

  async show(number) {
    const found = facts.cases[number];
    const [image, mask] = await Promise.all(["image", "mask"].map((name) => this.volume(number, name)));
    const meshes = await Promise.all(
      Object.entries(found.surfaces).map(([index, frame]) => this.mesh(number, Number(index), frame)),
    );
    if (state.number !== number) return;
    for (const volume of [...this.slices.volumes]) this.slices.removeVolume(volume);
    for (const mesh of [...this.surface.meshes]) this.surface.removeMesh(mesh);
    this.unit = found.unit;
    this.meshes = new Map(meshes.map(([index, mesh]) => [index, mesh]));
    this.slices.addVolume(image);
    this.slices.addVolume(mask);
    this.limits = [image.robust_min, image.robust_max];
    this.mask = mask;
    this.labels = mask.img.slice();
    const colors = { R: [0], G: [0], B: [0], A: [0], I: [0] };
    for (const item of facts.classes) {
      for (const [channel, value] of ["R", "G", "B"].map((name, i) => [name, rgbOf(item.color)[i]])) colors[channel].push(value);
      colors.A.push(255);
      colors.I.push(item.index);
    }
    mask.setColormapLabel(colors);
    for (const [, mesh] of meshes) this.surface.addMesh(mesh);
    this.surface.setRenderAzimuthElevation(180 + 20, 10); // from the front, the patient's right on the left
    this.slices.scene.crosshairPos = this.slices.mm2frac(found.start);
    this.redraw();
    this.slices.createOnLocationChange();
  }

  async volume(number, name) {
    const content = await unzipped(bytesOf(number, name));
    const volume = await niivue.NVImage.new(content, `${name}.nii`, "gray");
    if (name === "image") {
      const { scl_slope: slope, scl_inter: low } = volume.hdr;
      [volume.cal_min, volume.cal_max] = [volume.robust_min, volume.robust_max] = [low, low + 255 * slope];
    }
    return volume;
  }

  async mesh(number, index, frame) {
    const content = await unzipped(bytesOf(number, `surface-${index}`));
    const places = new Uint16Array(content, 0, 3 * frame.vertices);
    const points = new Float32Array(3 * frame.vertices);
    for (let axis = 0, place = 0, i = 0; axis < 3; axis++) {
      for (let vertex = 0; vertex < frame.vertices; vertex++, i++) {
        place = (place + places[i]) & 0xffff;
        points[3 * vertex + axis] = frame.origin[axis] + frame.step * place;
      }
    }
    const differences = new Int32Array(content.slice(6 * frame.vertices));
    const triangles = new Uint32Array(3 * frame.faces);
    for (let i = 0, corner = 0; i < triangles.length; i++) triangles[i] = corner += differences[i];
    const color = new Uint8Array([...rgbOf(this.classOf(index).color), 255]);
    const mesh = new niivue.NVMesh(points, triangles, this.classOf(index).name, color, 1, true, this.surface.gl);
    return [index, mesh];
  }

  classOf(index) {
    return facts.classes.find((item) => item.index === index);
  }

  hasClass(index) {
    return this.meshes.has(index);
  }

  redraw() {
    if (!this.mask) return;
    const shown = Uint8Array.from({ length: 256 }, (_, index) => (state.visible.has(index) ? index : 0));
    for (let i = 0; i < this.labels.length; i++) this.mask.img[i] = shown[this.labels[i]]; // NiiVue outlines hidden classes
    this.mask.opacity = state.opacity;
    this.slices.opts.atlasOutline = state.outlines ? 1 : 0;
    this.slices.updateGLVolume();
    for (const [index, mesh] of this.meshes) {
      mesh.visible = state.visible.has(index);
      mesh.updateMesh(this.surface.gl);
    }
    this.surface.drawScene();
  }

  setView(view) {
    this.view = view;
    for (const button of document.querySelectorAll("[data-view]")) {
      button.setAttribute("aria-pressed", String(button.dataset.view === view));
    }
    const stage = byId("stage");
    stage.classList.toggle("only-surface", view === "3D");
    stage.classList.toggle("only-slices", view in sliceTypes);
    if (view === "all") this.slices.setCustomLayout(quarters);
    if (view in sliceTypes) {
      this.slices.clearCustomLayout();
      this.slices.setSliceType(sliceTypes[view]);
    }
    this.slices.resizeListener();
    this.surface.resizeListener();
  }

  key(event) {
    const moves = {
      ArrowUp: [0, 0, 1],
      ArrowDown: [0, 0, -1],
      ArrowLeft: [1, 0, 0],
      ArrowRight: [-1, 0, 0],
      PageUp: [0, 1, 0],
      PageDown: [0, -1, 0],
    };
    const turns = { ArrowUp: [0, 5], ArrowDown: [0, -5], ArrowLeft: [-5, 0], ArrowRight: [5, 0] };
    if (event.key === "v") this.setView(views[(views.indexOf(this.view) + 1) % views.length]);
    else if (event.key in turns && (event.shiftKey || this.view === "3D")) {
      const { renderAzimuth, renderElevation } = this.surface.scene;
      const [azimuth, elevation] = turns[event.key];
      this.surface.setRenderAzimuthElevation(renderAzimuth + azimuth, renderElevation + elevation);
    } else if (event.key in moves) this.slices.moveCrosshairInVox(...moves[event.key]);
    else return false;
    return true;
  }

  describe(location) {
    const names = [["R", "L"], ["A", "P"], ["S", "I"]];
    const [x, y, z] = location.mm;
    const place = [x, y, z].map((mm, axis) => `${names[axis][mm >= 0 ? 0 : 1]} ${Math.abs(mm).toFixed(0)}`).join(", ");
    const [value, label] = location.values.map((item) => item.value);
    const found = this.classOf(label);
    const [low, high] = this.limits;
    const half = (high - low) / 510;
    const cut = value < low + half ? "≤ " : value > high - half ? "≥ " : ""; // values beyond the window are cut
    const shown = `${cut}${Number(value.toPrecision(3))}${this.unit ? ` ${this.unit}` : ""}`;
    byId("place").textContent = `${found ? found.name : "no class"} · ${shown} · ${place} mm`;
  }

  drawBars() {
    const canvas = byId("bars");
    const ratio = this.slices.uiData.dpr || 1;
    [canvas.width, canvas.height] = [this.slices.gl.canvas.width, this.slices.gl.canvas.height];
    const context = canvas.getContext("2d");
    this.bars = [];
    if (!this.slices.volumes.length) return;
    for (const [number, tile] of this.slices.screenSlices.entries()) {
      if (tile.axCorSag > 2) continue;
      const [left, top, width, height] = tile.leftTopWidthHeight;
      const mmPerPx = this.mmBetween(number, left + 0.25 * width, left + 0.75 * width, top + height / 2) / (0.5 * width);
      if (!(mmPerPx > 0)) continue;
      const mm = roundLength(0.3 * width * mmPerPx);
      const length = mm / mmPerPx;
      const [x, y] = [left + 12 * ratio, top + height - 12 * ratio];
      context.font = `${12 * ratio}px system-ui, sans-serif`;
      for (const [color, thick] of [["#000", 5], ["#fff", 2]]) {
        context.strokeStyle = color;
        context.lineWidth = thick * ratio;
        context.beginPath();
        context.moveTo(x, y - 5 * ratio);
        context.lineTo(x, y);
        context.lineTo(x + length, y);
        context.lineTo(x + length, y - 5 * ratio);
        context.stroke();
        if (color === "#000") context.strokeText(`${mm} mm`, x + 5 * ratio, y - 7 * ratio);
      }
      context.fillStyle = "#fff";
      context.fillText(`${mm} mm`, x + 5 * ratio, y - 7 * ratio);
      this.bars.push({ view: tile.axCorSag, mm, px: length });
    }
  }

  mmBetween(tile, x0, x1, y) {
    const [start, stop] = [x0, x1].map((x) => {
      const frac = this.slices.screenXY2TextureFrac(x, y, tile, false);
      return this.slices.frac2mm(frac, 0, true);
    });
    return Math.hypot(...[0, 1, 2].map((axis) => stop[axis] - start[axis]));
  }
}

start(async () => {
  if (!document.createElement("canvas").getContext("webgl2")) {
    throw new Error("This browser offers no WebGL 2, so only static pictures are shown.");
  }
  const picture = new VolumePicture();
  await picture.open();
  return picture;
});
