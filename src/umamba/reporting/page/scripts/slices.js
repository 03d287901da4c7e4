/** Slices through a case as pixels: planes, grey values, labels, differences, and outlines. */
(() => {
  "use strict";
  const page = window.umambaPage;
  const NAMES = ["axial", "coronal", "sagittal"];
  const REFERENCE = [0x56, 0xb4, 0xe9];
  // Colours of Okabe and Ito, without the blues, which the reference has.
  const LABELS = [[0xe6, 0x9f, 0x00], [0xcc, 0x79, 0xa7], [0x00, 0x9e, 0x73], [0xf0, 0xe4, 0x42], [0xd5, 0x5e, 0x00]];
  const N_COLOURS = 256;
  const GOLDEN = 0.618034; // of a turn: neighbouring labels get hues far apart

  const hue = (turn, light) =>
    [0, 8, 4].map((k) => {
      const at = (k + turn * 12) % 12;
      return Math.round(255 * (light - 0.4 * Math.max(-1, Math.min(at - 3, 9 - at, 1))));
    });
  const palette = Array.from({ length: N_COLOURS }, (_, i) => LABELS[i] ?? hue((i * GOLDEN) % 1, 0.5 + 0.1 * (i % 3)));
  const colourOf = (value) => palette[(((value - 1) % N_COLOURS) + N_COLOURS) % N_COLOURS];

  /** What differs from the reference; each has a colour that colour-blind readers tell apart. */
  const DIFFERENCES = [
    null,
    { name: "false positive", colour: [0xd5, 0x5e, 0x00] },
    { name: "false negative", colour: [0x00, 0x72, 0xb2] },
    { name: "agreement", colour: [0xbb, 0xbb, 0xbb] },
    { name: "another label", colour: [0xf0, 0xe4, 0x42] },
  ];

  /** Return a plane across an axis: its size, direction and names; the head is up. */
  const planeOf = (volume, axis) => {
    const [rows, columns] = [[1, 2], [0, 2], [0, 1]][axis];
    const { shape, spacing, letters } = volume;
    const oriented = letters.length === 3;
    const flipped = oriented && rows === 0;
    const ends = oriented ? { left: letters[columns][0], right: letters[columns][1], top: letters[rows][flipped ? 1 : 0], bottom: letters[rows][flipped ? 0 : 1] } : null;
    return {
      axis, rows, columns, flipped, ends,
      height: shape[rows], width: shape[columns], depth: shape[axis],
      rowSize: spacing[rows], columnSize: spacing[columns],
      name: oriented ? NAMES[axis] : shape[0] === 1 && axis === 0 ? "image" : `across axis ${axis + 1}`,
    };
  };

  /** Return the index of the voxel in a row and column of a slice. */
  const voxelIndex = (volume, plane, slice, row, column) => {
    const strides = [volume.shape[1] * volume.shape[2], volume.shape[2], 1];
    const along = plane.flipped ? plane.height - 1 - row : row;
    return slice * strides[plane.axis] + along * strides[plane.rows] + column * strides[plane.columns];
  };

  /** Copy a slice of an array; `n` numbers belong to each voxel. */
  const cut = (volume, plane, slice, values, n = 1) => {
    const { height, width } = plane;
    const out = new values.constructor(height * width * n);
    const step = voxelIndex(volume, plane, 0, 0, 1) - voxelIndex(volume, plane, 0, 0, 0);
    let to = 0;
    for (let row = 0; row < height; row += 1) {
      let from = voxelIndex(volume, plane, slice, row, 0) * n;
      for (let column = 0; column < width; column += 1, from += step * n) {
        for (let k = 0; k < n; k += 1) out[to++] = values[from + k];
      }
    }
    return out;
  };

  /** Return the grey level of every stored number under a window from `low` to `high`. */
  const greyLevels = (channel, low, high) => {
    const levels = new Uint8ClampedArray(channel.values.BYTES_PER_ELEMENT === 1 ? 256 : 65536);
    const width = Math.max(high - low, 1e-12);
    for (let raw = 0; raw < levels.length; raw += 1) levels[raw] = (255 * (raw * channel.slope + channel.intercept - low)) / width;
    return levels;
  };

  /** Paint a slice of a channel; without one, it is black. */
  const paintImage = (pixels, slice, channel, levels) => {
    const n = pixels.length / 4;
    for (let i = 0; i < n; i += 1) {
      for (let k = 0; k < 3; k += 1) pixels[4 * i + k] = !channel ? 0 : channel.colours ? slice[3 * i + k] : levels[slice[i]];
      pixels[4 * i + 3] = 255;
    }
  };

  /** Set all but the values of a label to 0; without a label, all but the value to ignore. */
  const only = (slice, values, ignore) => {
    const wanted = values ? new Set(values) : null;
    for (let i = 0; i < slice.length; i += 1) {
      if (slice[i] !== 0 && (wanted ? !wanted.has(slice[i]) : slice[i] === ignore)) slice[i] = 0;
    }
    return slice;
  };

  /**
   * Return for each pixel an index into `DIFFERENCES`.
   *
   * Pixels that the reference leaves out are 0. With a label only whether a pixel belongs to it
   * counts; without, different labels differ.
   */
  const difference = (predicted, reference, values, ignore) => {
    const wanted = values ? new Set(values) : null;
    const is = (value) => (wanted ? Number(wanted.has(value)) : value);
    const out = new Uint8Array(predicted.length);
    for (let i = 0; i < out.length; i += 1) {
      if (ignore !== null && reference[i] === ignore) continue;
      if (predicted[i] === 0 && reference[i] === 0) continue;
      const p = is(predicted[i]);
      const r = is(reference[i]);
      if (p && !r) out[i] = 1;
      else if (!p && r) out[i] = 2;
      else if (p) out[i] = p === r ? 3 : 4;
    }
    return out;
  };

  /** Blend colours of classes over pixels. */
  const paintFill = (pixels, classes, colour, opacity) => {
    const known = new Map();
    for (let i = 0; i < classes.length; i += 1) {
      const value = classes[i];
      if (value === 0) continue;
      let its = known.get(value);
      if (!its) known.set(value, (its = colour(value)));
      for (let k = 0; k < 3; k += 1) pixels[4 * i + k] += (its[k] - pixels[4 * i + k]) * opacity;
    }
  };

  /** Draw the outline of each class along the edges of its pixels. */
  const strokeOutlines = (context, classes, plane, view, colour, width) => {
    const { height, width: columns } = plane;
    const paths = new Map();
    for (let row = 0, i = 0; row < height; row += 1) {
      for (let column = 0; column < columns; column += 1, i += 1) {
        const value = classes[i];
        if (value === 0) continue;
        const up = row === 0 || classes[i - columns] !== value;
        const down = row === height - 1 || classes[i + columns] !== value;
        const left = column === 0 || classes[i - 1] !== value;
        const right = column === columns - 1 || classes[i + 1] !== value;
        if (!(up || down || left || right)) continue;
        let path = paths.get(value);
        if (!path) paths.set(value, (path = new Path2D()));
        const x0 = view.x + column * view.sx;
        const y0 = view.y + row * view.sy;
        const [x1, y1] = [x0 + view.sx, y0 + view.sy];
        const line = (ax, ay, bx, by) => { path.moveTo(ax, ay); path.lineTo(bx, by); };
        if (up) line(x0, y0, x1, y0);
        if (down) line(x0, y1, x1, y1);
        if (left) line(x0, y0, x0, y1);
        if (right) line(x1, y0, x1, y1);
      }
    }
    context.lineWidth = width;
    context.lineCap = "square";
    for (const [value, path] of paths) {
      context.strokeStyle = `rgb(${colour(value).join(" ")})`;
      context.stroke(path);
    }
  };

  /** Return for each axis the slice in which most voxels count. */
  const fullest = (volume, counts) => {
    const [nz, ny, nx] = volume.shape;
    const sums = [new Uint32Array(nz), new Uint32Array(ny), new Uint32Array(nx)];
    for (let z = 0, i = 0; z < nz; z += 1) {
      for (let y = 0; y < ny; y += 1) {
        for (let x = 0; x < nx; x += 1, i += 1) {
          if (!counts(i)) continue;
          sums[0][z] += 1;
          sums[1][y] += 1;
          sums[2][x] += 1;
        }
      }
    }
    const best = sums.map((sum) => sum.reduce((at, n, i) => (n > sum[at] ? i : at), 0));
    return sums[0][best[0]] ? best : null;
  };

  page.slices = { DIFFERENCES, REFERENCE, colourOf, cut, difference, fullest, greyLevels, only, paintFill, paintImage, planeOf, strokeOutlines, voxelIndex };
})();
